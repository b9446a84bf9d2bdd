#include "base/mime.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define MIME_UNKNOWN "application/octet-stream"

struct extension {
    const char *name;
    size_t len;
};

/* In groups: texts, documents, pictures, sound, video, data and archives. */
static const struct {
    const char *extension;
    const char *type;
} types[] = {
    {"txt", "text/plain"},
    {"c", "text/plain"},
    {"h", "text/plain"},
    {"csv", "text/csv"},
    {"tsv", "text/tab-separated-values"},
    {"md", "text/markdown"},
    {"html", "text/html"},
    {"htm", "text/html"},
    {"css", "text/css"},
    {"xml", "text/xml"},
    {"py", "text/x-python"},
    {"js", "text/javascript"},
    {"vtt", "text/vtt"},
    {"json", "application/json"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"sh", "application/x-sh"},
    {"tex", "application/x-tex"},
    {"pdf", "application/pdf"},
    {"ps", "application/postscript"},
    {"eps", "application/postscript"},
    {"doc", "application/msword"},
    {"xls", "application/vnd.ms-excel"},
    {"ppt", "application/vnd.ms-powerpoint"},
    {"png", "image/png"},
    {"jpg", "image/jpeg"},
    {"jpeg", "image/jpeg"},
    {"gif", "image/gif"},
    {"bmp", "image/bmp"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"svg", "image/svg+xml"},
    {"webp", "image/webp"},
    {"ico", "image/vnd.microsoft.icon"},
    {"mp3", "audio/mpeg"},
    {"wav", "audio/x-wav"},
    {"aac", "audio/aac"},
    {"opus", "audio/opus"},
    {"mp4", "video/mp4"},
    {"mpeg", "video/mpeg"},
    {"mpg", "video/mpeg"},
    {"mov", "video/quicktime"},
    {"avi", "video/x-msvideo"},
    {"webm", "video/webm"},
    {"h5", "application/x-hdf5"},
    {"hdf", "application/x-hdf"},
    {"nc", "application/x-netcdf"},
    {"wasm", "application/wasm"},
    {"zip", "application/zip"},
    {"tar", "application/x-tar"},
};

static bool is_one_of(struct extension e, const char *const *names, size_t count, bool fold)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(names[i]) == e.len &&
            (fold ? strncasecmp(e.name, names[i], e.len) : memcmp(e.name, names[i], e.len)) == 0)
            return true;
    }
    return false;
}

/* The extension of the first `len` bytes of a name, without its dot. Dots at the front of a name do
 * not begin one. */
static struct extension extension_of(const char *name, size_t len)
{
    size_t front = strspn(name, ".");

    for (size_t i = len; i > front; i--) {
        if (name[i - 1] == '.')
            return (struct extension){name + i, len - i};
    }
    return (struct extension){name + len, 0};
}

const char *mime_type_of(const char *filename)
{
    static const char *const tars[] = {"tgz", "taz", "tz", "tbz2", "txz"};
    static const char *const encodings[] = {"gz", "Z", "bz2", "xz", "br"};
    const char *slash = strrchr(filename, '/');
    const char *name = slash != NULL ? slash + 1 : filename;
    struct extension e = extension_of(name, strlen(name));

    if (is_one_of(e, tars, sizeof(tars) / sizeof(tars[0]), true))
        return "application/x-tar";
    if (e.len == 4 && strncasecmp(e.name, "svgz", 4) == 0)
        return "image/svg+xml";
    /* What is compressed has the type of its content: a.csv.gz is text/csv. */
    if (is_one_of(e, encodings, sizeof(encodings) / sizeof(encodings[0]), false))
        e = extension_of(name, (size_t)(e.name - name) - 1);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (is_one_of(e, &types[i].extension, 1, true))
            return types[i].type;
    }
    return MIME_UNKNOWN;
}
