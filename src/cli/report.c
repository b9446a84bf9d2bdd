#include "cli/report.h"

#include "base/json.h"
#include "cli/text.h"

void report_put_number(struct buf *out, const char *key, uint64_t number)
{
    json_put_key(out, key);
    json_put_int64(out, (int64_t)number);
}

void report_put_findings(struct buf *out, const struct mld_report *report, bool colour)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct mld_finding *finding = &report->findings[i];
        buf_puts(out, "      ");
        text_put_style(out, colour, finding->loss ? TEXT_RED : TEXT_YELLOW,
                       mld_problem_name(finding->problem));
        buf_puts(out, finding->loss ? " (lost)  " : "  ");
        text_put(out, finding->name);
        if (finding->detail && *finding->detail) {
            buf_puts(out, ": ");
            text_put(out, finding->detail);
        }
        buf_putc(out, '\n');
    }
}

void report_put_json(struct buf *out, const struct mld_report *report)
{
    json_put_key(out, "findings");
    buf_putc(out, '[');
    for (size_t i = 0; i < report->count; i++) {
        const struct mld_finding *finding = &report->findings[i];
        buf_puts(out, i ? ",{" : "{");
        json_put_key(out, "problem");
        json_put_cstring(out, mld_problem_name(finding->problem));
        json_put_key(out, "name");
        json_put_cstring(out, finding->name);
        json_put_key(out, "detail");
        json_put_cstring(out, finding->detail);
        report_put_number(out, "offset", finding->offset);
        report_put_number(out, "bytes", finding->bytes);
        json_put_key(out, "loss");
        json_put_bool(out, finding->loss);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}
