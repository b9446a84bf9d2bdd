#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* Room for a whole character more than a message has, so that none is cut in two before the end. */
#define TEXT_MAX (ERROR_MESSAGE_MAX + 4)

static _Thread_local char thread_message[ERROR_MESSAGE_MAX];
static _Thread_local char thread_field[ERROR_FIELD_MAX];

static const struct {
    const char *name;
    const char *words;
} error_table[] = {{"MLD_OK", "no error"},
#define ERROR_ROW(code, words, status, exception) {#code, words},
                   MLD_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};

#define ERROR_COUNT (sizeof(error_table) / sizeof(error_table[0]))

const char *mld_error_message(void)
{
    return thread_message;
}

const char *mld_error_words(enum mld_error code)
{
    return (size_t)code < ERROR_COUNT ? error_table[code].words : "unknown error";
}

const char *mld_error_name(enum mld_error code)
{
    return (size_t)code < ERROR_COUNT ? error_table[code].name : "unknown";
}

/* Makes `text` the thread's message: one line of valid UTF-8, cut between characters. A name in a
 * message may hold anything, and the message may end in a terminal. */
static void message_store(const char *text)
{
    const unsigned char *in = (const unsigned char *)text;
    size_t left = strlen(text);
    size_t used = 0;

    while (left > 0) {
        size_t step = utf8_sequence(in, left);
        size_t width = step > 0 ? step : 1;
        bool c1_control = step == 2 && in[0] == 0xC2 && in[1] < 0xA0;

        if (used + width >= ERROR_MESSAGE_MAX)
            break;
        if (step == 0 || c1_control || in[0] < 0x20 || in[0] == 0x7F) {
            thread_message[used++] = '?';
        } else {
            memcpy(thread_message + used, in, width);
            used += width;
        }
        in += width;
        left -= width;
    }
    thread_message[used] = '\0';
}

enum mld_error error_set(enum mld_error code, const char *format, ...)
{
    char text[TEXT_MAX]; /* apart, because an argument may be the old message */
    va_list args;

    assert(code != MLD_OK);
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    message_store(text);
    thread_field[0] = '\0';
    return code;
}

static enum mld_error code_of_errno(int errno_value)
{
    switch (errno_value) {
    case ENOENT:
        return MLD_ENOTFOUND;
    case EEXIST:
        return MLD_EEXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return MLD_EACCESS;
    case ENOSPC:
    case EDQUOT:
        return MLD_ENOSPACE;
    case EFBIG:
        return MLD_ETOOLARGE;
    case ENOMEM:
        return MLD_ENOMEM;
    case ENAMETOOLONG:
        return MLD_ENAME;
    default:
        return MLD_EIO;
    }
}

enum mld_error error_set_errno(int errno_value, const char *format, ...)
{
    char text[TEXT_MAX];
    char whole[TEXT_MAX + 128];
    char words[96];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(whole, sizeof(whole), "%s: %s", text, strerror_r(errno_value, words, sizeof(words)));
    message_store(whole);
    thread_field[0] = '\0';
    return code_of_errno(errno_value);
}

enum mld_error error_prefix(enum mld_error code, const char *format, ...)
{
    char text[TEXT_MAX];
    char whole[TEXT_MAX + 2 + ERROR_MESSAGE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(whole, sizeof(whole), "%s: %s", text, thread_message);
    message_store(whole);
    return code;
}

enum mld_error error_blame(enum mld_error code, const char *field)
{
    snprintf(thread_field, sizeof(thread_field), "%s", field);
    return code;
}

enum mld_error error_blame_element(enum mld_error code, const char *list, size_t index)
{
    char inner[ERROR_FIELD_MAX];

    memcpy(inner, thread_field, sizeof(inner));
    snprintf(thread_field, sizeof(thread_field), "%.64s[%zu]%s%.32s", list, index,
             inner[0] == '\0' ? "" : ".", inner);
    return code;
}

const char *error_field(void)
{
    return thread_field;
}

void error_clear(void)
{
    thread_message[0] = '\0';
    thread_field[0] = '\0';
}

void error_save(enum mld_error code, struct error_copy *out)
{
    out->code = code;
    memcpy(out->message, thread_message, sizeof(out->message));
    memcpy(out->field, thread_field, sizeof(out->field));
}

enum mld_error error_restore(const struct error_copy *copy)
{
    memcpy(thread_message, copy->message, sizeof(thread_message));
    memcpy(thread_field, copy->field, sizeof(thread_field));
    return copy->code;
}
