/* The suite on the store in memory. */
#include "meta_suite.h"

static struct meta *open_empty(void)
{
    struct meta *m;
    return meta_memory_open(&m) == MLD_OK ? m : NULL;
}

int main(void)
{
    static const struct meta_suite suite = {.name = "memory", .open_empty = open_empty};
    return meta_suite_run(&suite);
}
