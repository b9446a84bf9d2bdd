/* reason.h: why a run failed, as it is kept with the status. */
#ifndef RUN_REASON_H
#define RUN_REASON_H

/* A copy of `text` (freed by the caller) as one line of valid UTF-8: control characters and white
 * space become one space each run, other bytes that are not UTF-8 '?', and what is beyond
 * MLD_MAX_REASON_BYTES is cut, with an ellipsis. NULL when nothing is left, or without memory. */
char *reason_clean(const char *text);

#endif
