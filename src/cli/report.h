/* report.h: what verify and gc report, as lines for people and as JSON. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"

/* One line per finding, indented. */
void report_put_findings(struct buf *out, const struct mld_report *report, bool colour);
/* "findings":[...] */
void report_put_json(struct buf *out, const struct mld_report *report);
void report_put_number(struct buf *out, const char *key, uint64_t number);

#endif
