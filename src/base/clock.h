/* clock.h: time and machine identity. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define CLOCK_ISO_LEN 27                         /* 2024-01-31T12:34:56.123456Z */
#define CLOCK_MIN_US INT64_C(0)                  /* 1970-01-01T00:00:00.000000Z */
#define CLOCK_MAX_US INT64_C(253402300799999999) /* 9999-12-31T23:59:59.999999Z */

int64_t clock_now_us(void);       /* since the epoch, UTC */
int64_t clock_monotonic_ms(void); /* never goes back */
/* 27 characters and NUL, always six fraction digits. Times outside CLOCK_MIN_US..CLOCK_MAX_US are
 * written as the nearer end. Quick: the text of the last second is kept per thread. */
void clock_format_iso(char out[CLOCK_ISO_LEN + 1], int64_t us);
/* Reads YYYY-MM-DDTHH:MM:SS[.f...](Z|+00:00) of the years 1970 to 9999; -1 when it is none. */
int64_t clock_parse_iso(const char *text, size_t len);

/* The kernel's boot id (36 characters) and the host's name, into caller's memory; "unknown" when
 * not to be had. */
void clock_boot_id(char out[40]);
void clock_host_name(char out[256]);

#endif
