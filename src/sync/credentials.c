#include "sync/credentials.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/json.h"

#define TOKENS_FILE "tokens.json"
#define TOKEN_KEY "ml-dash-token"
#define CONFIG_FILE "config.json"
#define URL_KEY "remote_url"
#define FILE_MAX_BYTES (1u << 20)

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

static enum mld_error folder_path(struct buf *out)
{
    const char *folder = environment("ML_DASH_CONFIG_DIR"), *home = environment("HOME");
    if (folder != NULL)
        buf_puts(out, folder);
    else if (home != NULL)
        buf_printf(out, "%s/.dash", home);
    else
        return error_set(MLD_EINVALID, "neither ML_DASH_CONFIG_DIR nor HOME is set");
    return buf_check(out, "the path of the settings");
}

/* The folder of the settings; -1 and MLD_ENOTFOUND when there is none. */
static enum mld_error open_folder(int *out_fd, bool create)
{
    struct buf path;
    *out_fd = -1;
    buf_init(&path, 4096);
    enum mld_error error = folder_path(&path);
    if (error == MLD_OK && create) {
        error = fs_open_root(out_fd, buf_text(&path), true);
        if (error == MLD_OK && fchmod(*out_fd, 0700) != 0)
            error = error_set(MLD_EACCESS, "cannot keep '%.400s' to its owner", buf_text(&path));
    } else if (error == MLD_OK) {
        error = fs_open_root(out_fd, buf_text(&path), false);
    }
    buf_free(&path);
    return error;
}

/* Parses a file of the folder; doc->count is 0 when there is none. */
static enum mld_error read_settings(int dir_fd, const char *file, struct buf *text,
                                    struct json_doc *doc)
{
    enum mld_error error = fs_read_file(dir_fd, file, text);
    if (error == MLD_ENOTFOUND)
        return MLD_OK;
    if (error == MLD_OK)
        error = json_parse(doc, buf_text(text), text->len);
    if (error == MLD_OK && json_root(doc)->type != JSON_OBJECT)
        error = error_set(MLD_EINVALID, "it holds no JSON object");
    return error == MLD_OK ? MLD_OK : error_prefix(error, "settings file %s", file);
}

static enum mld_error read_setting(int dir_fd, const char *file, const char *key, char **out)
{
    struct buf text;
    struct json_doc doc;
    buf_init(&text, FILE_MAX_BYTES);
    json_doc_init(&doc);
    enum mld_error error = read_settings(dir_fd, file, &text, &doc);
    if (error == MLD_OK && doc.count > 0)
        *out = json_strdup(&doc, json_get(&doc, json_root(&doc), key));
    if (*out != NULL && (*out)[0] == '\0') {
        free(*out);
        *out = NULL;
    }
    json_doc_free(&doc);
    buf_free(&text);
    return error;
}

static enum mld_error copy(char **out, const char *first, const char *second)
{
    const char *text = first != NULL && first[0] != '\0' ? first : second;
    *out = text == NULL ? NULL : strdup(text);
    return text != NULL && *out == NULL ? error_set(MLD_ENOMEM, "no memory for the settings")
                                        : MLD_OK;
}

/* Cuts what a shell or an editor left at the end. Both go into the lines of a request, where
 * nothing but visible characters may be. */
static enum mld_error tidy(char *text, const char *what)
{
    size_t len = text == NULL ? 0 : strlen(text);
    while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
        text[--len] = '\0';
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f)
            return error_set(MLD_EINVALID, "the %s has a blank or a control character in it", what);
    }
    return MLD_OK;
}

/* The same server, however many slashes its address ends with. */
static bool same_url(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    while (n > 0 && a[n - 1] == '/')
        n--;
    while (m > 0 && b[m - 1] == '/')
        m--;
    return n == m && memcmp(a, b, n) == 0;
}

/* The login's token goes to the server of the login only. */
static enum mld_error read_token(int dir_fd, struct credentials *out)
{
    char *logged_in = NULL;
    enum mld_error error = read_setting(dir_fd, CONFIG_FILE, URL_KEY, &logged_in);
    if (error == MLD_OK && (logged_in == NULL || out->url == NULL || same_url(logged_in, out->url)))
        error = read_setting(dir_fd, TOKENS_FILE, TOKEN_KEY, &out->token);
    free(logged_in);
    return error;
}

enum mld_error credentials_find(struct credentials *out, const char *url, const char *token)
{
    int dir_fd = -1;
    *out = (struct credentials){.url = NULL};
    enum mld_error error = copy(&out->url, url, environment("ML_DASH_URL"));
    if (error == MLD_OK)
        error = copy(&out->token, token, environment("ML_DASH_TOKEN"));
    if (error == MLD_OK && (out->url == NULL || out->token == NULL)) {
        error = open_folder(&dir_fd, false);
        if (error == MLD_ENOTFOUND || error == MLD_EINVALID)
            return MLD_OK; /* nobody has logged in here */
        if (error == MLD_OK && out->url == NULL)
            error = read_setting(dir_fd, CONFIG_FILE, URL_KEY, &out->url);
        if (error == MLD_OK && out->token == NULL)
            error = read_token(dir_fd, out);
    }
    if (dir_fd >= 0)
        close(dir_fd);
    if (error == MLD_OK)
        error = tidy(out->url, "URL");
    if (error == MLD_OK)
        error = tidy(out->token, "token");
    if (error != MLD_OK)
        credentials_free(out);
    return error;
}

void credentials_free(struct credentials *c)
{
    if (c->token != NULL)
        explicit_bzero(c->token, strlen(c->token));
    free(c->url);
    free(c->token);
    *c = (struct credentials){.url = NULL};
}

/* The file again with one member set, or taken out (value NULL). */
static enum mld_error write_setting(int dir_fd, const char *file, const char *key,
                                    const char *value)
{
    struct buf text, out;
    struct json_doc doc;
    const struct json_node *name = NULL;
    buf_init(&text, FILE_MAX_BYTES);
    buf_init(&out, 2 * FILE_MAX_BYTES);
    json_doc_init(&doc);
    enum mld_error error = read_settings(dir_fd, file, &text, &doc);
    buf_putc(&out, '{');
    while (error == MLD_OK && doc.count > 0 &&
           (name = json_next(&doc, json_root(&doc), name)) != NULL) {
        size_t name_len, value_len;
        const char *raw_name = json_raw(&doc, name, &name_len);
        const char *raw = json_raw(&doc, json_value_of(&doc, name), &value_len);
        if (json_equals(&doc, name, key))
            continue;
        buf_puts(&out, out.len > 1 ? "," : "");
        buf_put(&out, raw_name, name_len);
        buf_putc(&out, ':');
        buf_put(&out, raw, value_len);
    }
    if (value != NULL) {
        json_put_key(&out, key);
        json_put_cstring(&out, value);
    }
    buf_puts(&out, "}\n");
    mode_t before = umask(0077); /* for the owner's eyes only */
    if (error == MLD_OK)
        error = buf_check(&out, file);
    if (error == MLD_OK)
        error = fs_replace_file(dir_fd, file, out.data, out.len, true);
    umask(before);
    json_doc_free(&doc);
    buf_free(&text);
    buf_free(&out);
    return error;
}

enum mld_error credentials_save(const char *url, const char *token)
{
    int dir_fd;
    enum mld_error error = open_folder(&dir_fd, true);
    if (error == MLD_OK) /* first: whatever happens, the old token never goes to the new server */
        error = write_setting(dir_fd, TOKENS_FILE, TOKEN_KEY, NULL);
    if (error == MLD_OK)
        error = write_setting(dir_fd, CONFIG_FILE, URL_KEY, url);
    if (error == MLD_OK)
        error = write_setting(dir_fd, TOKENS_FILE, TOKEN_KEY, token);
    if (dir_fd >= 0)
        close(dir_fd);
    return error;
}

enum mld_error credentials_forget(void)
{
    int dir_fd;
    enum mld_error error = open_folder(&dir_fd, false);
    if (error == MLD_ENOTFOUND)
        return MLD_OK;
    if (error == MLD_OK)
        error = write_setting(dir_fd, TOKENS_FILE, TOKEN_KEY, NULL);
    if (dir_fd >= 0)
        close(dir_fd);
    return error;
}
