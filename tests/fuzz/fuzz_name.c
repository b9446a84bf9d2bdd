/* Any bytes as each kind of name. What is accepted must be safe as a part of a path: it keeps below
 * its folder, holds no control character and passes again as it is. Messages are one clean line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_text(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t left = strlen(text);

    while (left > 0) {
        size_t width = utf8_sequence(at, left);
        require(width > 0 && at[0] >= 0x20 && at[0] != 0x7F);
        require(!(at[0] == 0xC2 && at[1] < 0xA0));
        at += width;
        left -= width;
    }
}

/* Relative, and each component one that stays where it is. */
static void check_path(const char *path)
{
    check_text(path);
    for (;;) {
        size_t len = strcspn(path, "/");
        require(len >= 1 && len <= NAME_MAX_COMPONENT_BYTES);
        require(len > 2 || strncmp(path, "..", len) != 0);
        require(!name_is_reserved(path, len));
        if (path[len] == '\0')
            return;
        path += len + 1;
    }
}

static void check_message(enum mld_error error)
{
    require(error == MLD_OK || error == MLD_ENAME);
    if (error == MLD_OK)
        return;
    require(mld_error_message()[0] != '\0');
    check_text(mld_error_message());
}

static void check_prefix(const char *text)
{
    struct buf once;
    struct buf twice;

    buf_init(&once, 2 * NAME_MAX_PATH_BYTES);
    buf_init(&twice, 2 * NAME_MAX_PATH_BYTES);
    enum mld_error error = name_canonical_prefix(text, &once);
    check_message(error);
    if (error == MLD_OK) {
        require(once.data[0] == '/');
        if (once.len > 1)
            check_path(once.data + 1);
        require(name_canonical_prefix(once.data, &twice) == MLD_OK);
        require(strcmp(once.data, twice.data) == 0);
        buf_clear(&twice);
        require(name_canonical_folder("folder", text, &twice) == MLD_OK);
        require(strcmp(once.data + 1, buf_text(&twice)) == 0);
    } else {
        require(once.len == 0);
    }
    buf_free(&once);
    buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    enum mld_error error;

    require(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';

    error = name_check_file(text);
    check_message(error);
    bool series_name = name_is_reserved(text, size) && text[0] != '.';
    require(series_name || error == name_check_component("project", text));
    if (error == MLD_OK && !series_name) {
        check_path(text);
        require(strchr(text, '/') == NULL);
        require(name_check_series(text) == MLD_OK);
    }
    error = name_check_series(text);
    check_message(error);
    if (error == MLD_OK)
        check_path(text);
    error = name_check_alias(text);
    check_message(error);
    if (error == MLD_OK)
        check_text(text);
    error = name_check_tag("tag", text);
    check_message(error);
    if (error == MLD_OK)
        check_text(text);
    check_prefix(text);
    free(text);
    return 0;
}
