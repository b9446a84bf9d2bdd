/* faulty.h: a memory store that is lost at the n-th write, as a server that is killed there: that
 * write and all calls after it fail. */
#ifndef TESTS_SERVER_FAULTY_H
#define TESTS_SERVER_FAULTY_H

#include <stdbool.h>

#include "meta/store.h"

struct faulty {
    struct meta base;
    struct meta *inner;
    int writes_left; /* -1: no end */
    int writes;      /* that were done */
    bool lost;
};

static inline enum mld_error faulty_gone(void)
{
    return error_set(MLD_EUNAVAILABLE, "the store is gone");
}

static inline enum mld_error faulty_write(struct meta *m, struct meta_write *writes, size_t n)
{
    struct faulty *f = (struct faulty *)m;
    f->lost = f->lost || f->writes_left == 0;
    if (f->lost)
        return faulty_gone();
    if (f->writes_left > 0)
        f->writes_left--;
    f->writes++;
    return f->inner->ops->write(f->inner, writes, n);
}

static inline enum mld_error faulty_get_many(struct meta *m, struct meta_docs *out,
                                             const char *partition, const char *const *ids,
                                             size_t n)
{
    struct faulty *f = (struct faulty *)m;
    return f->lost ? faulty_gone() : f->inner->ops->get_many(f->inner, out, partition, ids, n);
}

static inline enum mld_error faulty_find(struct meta *m, struct meta_docs *out,
                                         const struct meta_range *range)
{
    struct faulty *f = (struct faulty *)m;
    return f->lost ? faulty_gone() : f->inner->ops->find(f->inner, out, range);
}

static inline enum mld_error faulty_count(struct meta *m, uint64_t *out,
                                          const struct meta_range *range, uint64_t max)
{
    struct faulty *f = (struct faulty *)m;
    return f->lost ? faulty_gone() : f->inner->ops->count(f->inner, out, range, max);
}

/* Borrows `inner`; needs no closing. */
static inline struct meta *faulty_begin(struct faulty *f, struct meta *inner, int writes)
{
    static const struct meta_ops ops = {.kind = "faulty",
                                        .write = faulty_write,
                                        .get_many = faulty_get_many,
                                        .find = faulty_find,
                                        .count = faulty_count};
    *f = (struct faulty){.base = {&ops}, .inner = inner, .writes_left = writes};
    return &f->base;
}

#endif
