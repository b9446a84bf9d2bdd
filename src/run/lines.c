#include "run/lines.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

enum mld_error lines_open(struct line_reader *r, int dir_fd, const char *file, off_t offset)
{
    *r = (struct line_reader){
        .fd = -1, .file = file, .next_read = LINES_FIRST_READ, .offset = offset};
    return fs_open(&r->fd, dir_fd, file, O_RDONLY, 0);
}

void lines_close(struct line_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    free(r->data);
    r->data = NULL;
}

/* Room for the next read behind the rest of the last one, which moves to the front. */
static enum mld_error make_room(struct line_reader *r)
{
    size_t rest = r->end - r->begin;
    size_t need = rest + r->next_read;

    if (rest > 0 && r->begin > 0)
        memmove(r->data, r->data + r->begin, rest);
    r->begin = 0;
    r->end = rest;
    if (need <= r->capacity)
        return MLD_OK;
    size_t capacity = need > 2 * r->capacity ? need : 2 * r->capacity;
    char *data = realloc(r->data, capacity);
    if (data == NULL)
        return error_set(MLD_ENOMEM, "no memory for reading %s", r->file);
    r->data = data;
    r->capacity = capacity;
    return MLD_OK;
}

static enum mld_error read_more(struct line_reader *r, size_t *out_len)
{
    *out_len = 0;
    enum mld_error error = make_room(r);
    if (error == MLD_OK)
        error = fs_pread(r->fd, r->data + r->end, r->next_read, r->offset + (off_t)r->end, out_len,
                         r->file);
    r->end += *out_len;
    if (r->next_read < LINES_MAX_READ)
        r->next_read *= 2;
    return error;
}

static void drop(struct line_reader *r)
{
    r->dropped += r->searched;
    r->offset += (off_t)r->searched;
    r->begin = r->end;
    r->searched = 0;
}

static void give_out(struct line_reader *r, size_t len, struct line *out)
{
    *out = (struct line){r->data + r->begin, len, r->offset};
    if (r->dropped > 0)
        *out = (struct line){"", 0, r->offset - (off_t)r->dropped};
    r->begin += len + 1;
    r->offset += (off_t)len + 1;
    r->searched = 0;
    r->dropped = 0;
}

enum mld_error lines_next(struct line_reader *r, struct line *out)
{
    enum mld_error error = MLD_OK;
    size_t len = 1;

    *out = (struct line){NULL, 0, 0};
    while (error == MLD_OK && len > 0) {
        size_t unread = r->end - r->begin;
        const char *newline = NULL;
        if (unread > r->searched)
            newline = memchr(r->data + r->begin + r->searched, '\n', unread - r->searched);
        if (newline != NULL) {
            give_out(r, (size_t)(newline - r->data) - r->begin, out);
            return MLD_OK;
        }
        r->searched = unread;
        if (unread > LINES_MAX_BYTES)
            drop(r);
        error = read_more(r, &len);
    }
    return error;
}
