#include "base/name.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

#define NAME_QUOTE_BYTES 80 /* of a name in a message */
#define NAME_MAX_ALIAS_BYTES 64

/* A name made fit for a message: control characters and broken UTF-8 as escapes, and not too long.
 */
struct quoted {
    char text[NAME_QUOTE_BYTES + 16];
};

static bool is_control(const unsigned char *in, size_t width)
{
    return in[0] < 0x20 || in[0] == 0x7F || (width == 2 && in[0] == 0xC2 && in[1] < 0xA0);
}

static struct quoted quote(const char *name, size_t len)
{
    const unsigned char *in = (const unsigned char *)name;
    struct quoted out = {.text = "'"};
    size_t used = 1;

    while (len > 0 && used < NAME_QUOTE_BYTES) {
        size_t width = utf8_sequence(in, len);
        if (width == 0 || is_control(in, width)) {
            width = width > 0 ? width : 1;
            used += (size_t)snprintf(out.text + used, 5, "\\x%02x", in[width - 1]);
        } else {
            memcpy(out.text + used, in, width);
            used += width;
        }
        in += width;
        len -= width;
    }
    snprintf(out.text + used, sizeof(out.text) - used, len > 0 ? "...'" : "'");
    return out;
}

/* UTF-8 without control characters; `what` and the whole name are for the message. */
static enum mld_error check_text(const char *what, const char *name, size_t len)
{
    const unsigned char *in = (const unsigned char *)name;

    for (size_t at = 0; at < len;) {
        size_t width = utf8_sequence(in + at, len - at);
        if (width == 0)
            return error_set(MLD_ENAME, "%s %s is not valid UTF-8 at byte %zu", what,
                             quote(name, len).text, at);
        if (is_control(in + at, width))
            return error_set(MLD_ENAME, "%s %s has a control character at byte %zu", what,
                             quote(name, len).text, at);
        at += width;
    }
    return MLD_OK;
}

/* True for "" or ".7" or ".7-2" before ".jsonl": data.jsonl, data.7.jsonl, data.7-2.jsonl. */
static bool is_shard_number(const char *text, size_t len)
{
    size_t at = 1;

    if (len == 0)
        return true;
    if (text[0] != '.' || len < 2)
        return false;
    while (at < len && isdigit((unsigned char)text[at]))
        at++;
    if (at == 1 || (at < len && text[at++] != '-'))
        return false;
    if (at == len)
        return text[at - 1] != '-';
    while (at < len && isdigit((unsigned char)text[at]))
        at++;
    return at == len;
}

bool name_is_reserved(const char *component, size_t len)
{
    static const char *const reserved[] = {
        ".mldash",         "metadata.json",        ".metadata.lock",   ".files_metadata.json",
        "experiment.json", ".files_metadata.lock", ".experiment.lock", ".parameters.lock",
        ".log_sequence",   ".log_sequence.lock",
    };
    static const char own[] = ".mldash.";
    static const char stem[] = "data";
    static const char ending[] = ".jsonl";
    const size_t fixed = sizeof(stem) + sizeof(ending) - 2;

    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (strlen(reserved[i]) == len && memcmp(component, reserved[i], len) == 0)
            return true;
    }
    if (len >= strlen(own) && memcmp(component, own, strlen(own)) == 0)
        return true;
    return len >= fixed && memcmp(component, stem, strlen(stem)) == 0 &&
           memcmp(component + len - strlen(ending), ending, strlen(ending)) == 0 &&
           is_shard_number(component + strlen(stem), len - fixed);
}

/* One component `at` of the name `whole`, whose text is known to be fine. */
static enum mld_error check_part(const char *what, const char *whole, const char *at, size_t len)
{
    struct quoted name = quote(whole, strlen(whole));

    if (len == 0)
        return error_set(MLD_ENAME, "%s %s has an empty component; write single '/' between names",
                         what, name.text);
    if (len == 2 && at[0] == '.' && at[1] == '.')
        return error_set(MLD_ENAME, "%s %s leaves the run folder; '..' is not allowed", what,
                         name.text);
    if (len == 1 && at[0] == '.')
        return error_set(MLD_ENAME, "%s %s has '.' as a component; leave it out", what, name.text);
    if (len > NAME_MAX_COMPONENT_BYTES)
        return error_set(MLD_ENAME, "%s %s has a component of %zu bytes, at most %d are allowed",
                         what, name.text, len, NAME_MAX_COMPONENT_BYTES);
    if (name_is_reserved(at, len))
        return error_set(MLD_ENAME,
                         "%s %s: %s is a name that the run folder keeps for itself; "
                         "choose another",
                         what, name.text, quote(at, len).text);
    return MLD_OK;
}

/* `len` bytes of `whole` from `at` on, as components joined by "/". */
static enum mld_error check_parts(const char *what, const char *whole, const char *at, size_t len)
{
    const char *end = at + len;
    enum mld_error error = check_text(what, whole, strlen(whole));

    if (error == MLD_OK && len > NAME_MAX_PATH_BYTES)
        error = error_set(MLD_ENAME, "%s %s has %zu bytes, at most %d are allowed", what,
                          quote(whole, strlen(whole)).text, len, NAME_MAX_PATH_BYTES);
    while (error == MLD_OK) {
        const char *slash = memchr(at, '/', (size_t)(end - at));
        const char *stop = slash != NULL ? slash : end;

        error = check_part(what, whole, at, (size_t)(stop - at));
        if (slash == NULL)
            break;
        at = slash + 1;
    }
    return error;
}

/* A single component. */
static enum mld_error check_single(const char *what, const char *name, const char *advice)
{
    if (name == NULL || name[0] == '\0')
        return error_set(MLD_ENAME, "%s is empty; give it a name", what);
    if (strchr(name, '/') != NULL)
        return error_set(MLD_ENAME, "%s %s has a '/' in it; %s", what,
                         quote(name, strlen(name)).text, advice);
    return check_parts(what, name, name, strlen(name));
}

enum mld_error name_check_file(const char *name)
{
    /* Stored bytes lie in a directory of their own, where a metadata.json is the user's; only the
     * hidden names are kept from files, too. */
    if (name != NULL && name[0] != '.' && name_is_reserved(name, strlen(name)))
        return MLD_OK;
    return check_single("file name", name, "give the directory as prefix");
}

enum mld_error name_check_component(const char *what, const char *name)
{
    return check_single(what, name, "leave it out");
}

enum mld_error name_check_series(const char *name)
{
    if (name == NULL || name[0] == '\0')
        return error_set(MLD_ENAME, "metric or track name is empty; give it a name");
    return check_parts("metric or track name", name, name, strlen(name));
}

/* The components without one "/" in front and one behind, after `before`; nothing at all for none.
 */
static enum mld_error put_canonical(const char *what, const char *path, const char *before,
                                    struct buf *out)
{
    const char *at = path != NULL ? path : "";
    size_t len = strlen(at);

    if (len > 0 && at[0] == '/') {
        at++;
        len--;
    }
    if (len == 0)
        return MLD_OK;
    if (at[len - 1] == '/')
        len--;
    enum mld_error error = check_parts(what, path, at, len);
    if (error != MLD_OK)
        return error;
    buf_puts(out, before);
    buf_put(out, at, len);
    return buf_check(out, what);
}

enum mld_error name_canonical_prefix(const char *prefix, struct buf *out)
{
    size_t before = out->len;
    enum mld_error error = put_canonical("prefix", prefix, "/", out);

    if (error != MLD_OK || out->len > before)
        return error;
    buf_putc(out, '/');
    return buf_check(out, "prefix");
}

enum mld_error name_canonical_folder(const char *what, const char *folder, struct buf *out)
{
    return put_canonical(what, folder, "", out);
}

enum mld_error name_check_alias(const char *name)
{
    size_t len = name != NULL ? strlen(name) : 0;

    if (len == 0 || len > NAME_MAX_ALIAS_BYTES)
        return error_set(MLD_ENAME, "alias %s has %zu bytes; 1 to %d are allowed",
                         quote(name != NULL ? name : "", len).text, len, NAME_MAX_ALIAS_BYTES);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && strchr("._-", c) == NULL)
            return error_set(MLD_ENAME, "alias %s: only letters, digits and . _ - are allowed",
                             quote(name, len).text);
    }
    if (strcmp(name, "latest") == 0)
        return error_set(MLD_ENAME, "alias 'latest' is always the newest version; choose another");
    if (strspn(name, ".") == len)
        return error_set(MLD_ENAME, "alias %s is only dots; choose another", quote(name, len).text);
    return MLD_OK;
}

enum mld_error name_check_tag(const char *what, const char *tag)
{
    size_t len = tag != NULL ? strlen(tag) : 0;

    if (len == 0 || len > NAME_MAX_TAG_BYTES)
        return error_set(MLD_ENAME, "%s %s has %zu bytes; 1 to %d are allowed", what,
                         quote(tag != NULL ? tag : "", len).text, len, NAME_MAX_TAG_BYTES);
    return check_text(what, tag, len);
}

void name_file_path(struct buf *out, const char *canonical_prefix, const char *id,
                    const char *filename)
{
    buf_puts(out, "files");
    buf_puts(out, canonical_prefix);
    if (strcmp(canonical_prefix, "/") != 0)
        buf_putc(out, '/');
    buf_puts(out, id);
    buf_putc(out, '/');
    buf_puts(out, filename);
}

void name_series_dir(struct buf *out, const char *kind_dir, const char *name)
{
    bool flat = strcmp(kind_dir, "tracks") == 0;

    buf_puts(out, kind_dir);
    buf_putc(out, '/');
    for (const char *c = name != NULL ? name : "None"; *c != '\0'; c++)
        buf_putc(out, flat && *c == '/' ? '_' : *c);
}
