#include "run/report.h"

#include <stdlib.h>

enum mld_error report_new(struct report **out)
{
    *out = calloc(1, sizeof **out);
    return *out == NULL ? error_set(MLD_ENOMEM, "out of memory for a report") : MLD_OK;
}

enum mld_error report_add(struct report *r, const struct mld_finding *finding)
{
    size_t n = r->public.count;
    if (n == r->capacity) {
        size_t capacity = n == 0 ? 16 : 2 * n;
        struct mld_finding *findings = realloc(r->findings, capacity * sizeof *findings);
        if (findings == NULL)
            return error_set(MLD_ENOMEM, "out of memory for a report");
        r->findings = findings;
        r->capacity = capacity;
        r->public.findings = findings;
    }
    struct mld_finding *kept = &r->findings[n];
    *kept = *finding;
    kept->name = arena_strdup(&r->arena, finding->name);
    kept->detail = arena_strdup(&r->arena, finding->detail);
    if (kept->name == NULL || (kept->detail == NULL && finding->detail != NULL))
        return error_set(MLD_ENOMEM, "out of memory for a report");
    r->public.count++;
    r->public.n_losses += finding->loss;
    return MLD_OK;
}

void mld_report_free(struct mld_report *public)
{
    struct report *r = (struct report *)public;
    if (r == NULL)
        return;
    arena_free(&r->arena);
    free(r->findings);
    free(r);
}

const char *mld_problem_name(enum mld_problem problem)
{
    static const char *const NAMES[] = {
        [MLD_PROBLEM_MISSING] = "missing",   [MLD_PROBLEM_SIZE] = "size",
        [MLD_PROBLEM_CHECKSUM] = "checksum", [MLD_PROBLEM_UNREADABLE] = "unreadable",
        [MLD_PROBLEM_GARBLED] = "garbled",   [MLD_PROBLEM_TORN] = "torn",
        [MLD_PROBLEM_MARK] = "mark",         [MLD_PROBLEM_DAMAGED] = "damaged",
        [MLD_PROBLEM_UNSAFE] = "unsafe",     [MLD_PROBLEM_ORPHAN] = "orphan",
        [MLD_PROBLEM_VIEW] = "view",         [MLD_PROBLEM_FOREIGN] = "foreign",
    };
    return (unsigned)problem < sizeof NAMES / sizeof *NAMES ? NAMES[problem] : "unknown";
}
