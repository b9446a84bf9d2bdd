/* http_problem.c: an error as JSON. */
#include "server/http_problem.h"

#include "base/json.h"

#define MAX_PROBLEM_BYTES 16384

void problem_put(struct buf *out, const char *error, const char *message, const char *field)
{
    buf_init(out, MAX_PROBLEM_BYTES);
    buf_putc(out, '{');
    json_put_key(out, "error");
    json_put_cstring(out, error);
    json_put_key(out, "message");
    json_put_cstring(out, message);
    if (field) {
        json_put_key(out, "field");
        json_put_cstring(out, field);
    }
    buf_putc(out, '}');
}
