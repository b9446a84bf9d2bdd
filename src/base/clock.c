#include "base/clock.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define SECOND_US 1000000
#define ISO_SECOND_LEN 19 /* 2024-01-31T12:34:56 */

static int64_t read_clock_ns(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_now_us(void)
{
    return read_clock_ns(CLOCK_REALTIME) / 1000;
}

int64_t clock_monotonic_ms(void)
{
    return read_clock_ns(CLOCK_MONOTONIC) / 1000000;
}

static void put_digits(char *out, int count, unsigned value)
{
    while (count-- > 0) {
        out[count] = (char)('0' + value % 10);
        value /= 10;
    }
}

static void format_second(char out[ISO_SECOND_LEN], int64_t second)
{
    time_t at = (time_t)second;
    struct tm tm;

    gmtime_r(&at, &tm);
    memcpy(out, "0000-00-00T00:00:00", ISO_SECOND_LEN);
    put_digits(out, 4, (unsigned)tm.tm_year + 1900);
    put_digits(out + 5, 2, (unsigned)tm.tm_mon + 1);
    put_digits(out + 8, 2, (unsigned)tm.tm_mday);
    put_digits(out + 11, 2, (unsigned)tm.tm_hour);
    put_digits(out + 14, 2, (unsigned)tm.tm_min);
    put_digits(out + 17, 2, (unsigned)tm.tm_sec);
}

void clock_format_iso(char out[CLOCK_ISO_LEN + 1], int64_t us)
{
    static _Thread_local int64_t cached_second = INT64_MIN;
    static _Thread_local char cached_text[ISO_SECOND_LEN];

    us = us < CLOCK_MIN_US ? CLOCK_MIN_US : us > CLOCK_MAX_US ? CLOCK_MAX_US : us;
    int64_t second = us / SECOND_US - (us % SECOND_US < 0);
    if (second != cached_second) {
        format_second(cached_text, second);
        cached_second = second;
    }
    memcpy(out, cached_text, ISO_SECOND_LEN);
    out[ISO_SECOND_LEN] = '.';
    put_digits(out + ISO_SECOND_LEN + 1, 6, (unsigned)(us - second * SECOND_US));
    memcpy(out + CLOCK_ISO_LEN - 1, "Z", 2);
}

/* A cursor over the text; `bad` stays set once something did not fit. */
struct iso_reader {
    const char *at;
    const char *end;
    bool bad;
};

static int64_t read_digits(struct iso_reader *in, int count, int64_t low, int64_t high)
{
    int64_t value = 0;

    for (int i = 0; i < count; i++) {
        if (in->at == in->end || *in->at < '0' || *in->at > '9') {
            in->bad = true;
            return low;
        }
        value = value * 10 + (*in->at++ - '0');
    }
    in->bad = in->bad || value < low || value > high;
    return value;
}

static bool skip_char(struct iso_reader *in, char c)
{
    bool there = in->at < in->end && *in->at == c;

    in->at += there;
    return there;
}

/* ".5" is half a second; digits beyond the sixth are read and dropped. */
static int64_t read_fraction_us(struct iso_reader *in)
{
    int64_t us = 0;
    int digits = 0;

    if (!skip_char(in, '.'))
        return 0;
    for (; in->at < in->end && *in->at >= '0' && *in->at <= '9'; in->at++, digits++)
        us = digits < 6 ? us * 10 + (*in->at - '0') : us;
    in->bad = in->bad || digits == 0;
    for (; digits < 6; digits++)
        us *= 10;
    return us;
}

static bool skip_zone(struct iso_reader *in)
{
    static const char utc[] = "+00:00";

    if (skip_char(in, 'Z'))
        return true;
    for (const char *c = utc; *c != '\0'; c++) {
        if (!skip_char(in, *c))
            return false;
    }
    return true;
}

static int days_in_month(int64_t year, int64_t month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

int64_t clock_parse_iso(const char *text, size_t len)
{
    struct iso_reader in = {.at = text, .end = text + len};

    int64_t year = read_digits(&in, 4, 1970, 9999);
    in.bad |= !skip_char(&in, '-');
    int64_t month = read_digits(&in, 2, 1, 12);
    in.bad |= !skip_char(&in, '-');
    int64_t day = read_digits(&in, 2, 1, 31);
    in.bad |= !skip_char(&in, 'T');
    int64_t hour = read_digits(&in, 2, 0, 23);
    in.bad |= !skip_char(&in, ':');
    int64_t minute = read_digits(&in, 2, 0, 59);
    in.bad |= !skip_char(&in, ':');
    int64_t second = read_digits(&in, 2, 0, 59);
    int64_t fraction = read_fraction_us(&in);
    in.bad |= !skip_zone(&in);
    if (in.bad || in.at != in.end || day > days_in_month(year, month))
        return -1;

    struct tm tm = {.tm_year = (int)year - 1900, .tm_mon = (int)month - 1, .tm_mday = (int)day};
    int64_t midnight = (int64_t)timegm(&tm);
    return (midnight + hour * 3600 + minute * 60 + second) * SECOND_US + fraction;
}

void clock_boot_id(char out[40])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, 36) : -1;

    if (n == 36)
        out[36] = '\0';
    else
        memcpy(out, "unknown", sizeof("unknown"));
    if (fd >= 0)
        close(fd);
}

void clock_host_name(char out[256])
{
    struct utsname system;
    bool known = uname(&system) == 0 && system.nodename[0] != '\0';

    snprintf(out, 256, "%s", known ? system.nodename : "unknown");
}
