/* logs.h: log lines; the public part is mldash/log.h. */
#ifndef RUN_LOGS_H
#define RUN_LOGS_H

#include "run/run.h"

/* Adds log shards that no record names: other tools' logs.jsonl. Needs the run's lock. */
enum mld_error logs_discover(struct run *run);

#endif
