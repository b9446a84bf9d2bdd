#include "run/shard_index.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/fs.h"

#define FIRST_MARKS 16

void shard_index_free(struct shard_index *index)
{
    free(index->marks);
    *index = (struct shard_index){.file = index->file};
}

static enum mld_error add_mark(struct shard_index *index, off_t offset)
{
    if (index->n_marks == index->capacity) {
        size_t capacity = index->capacity == 0 ? FIRST_MARKS : 2 * index->capacity;
        off_t *marks = realloc(index->marks, capacity * sizeof(*marks));
        if (marks == NULL)
            return error_set(MLD_ENOMEM, "no memory for the index of %s", index->file);
        index->marks = marks;
        index->capacity = capacity;
    }
    index->marks[index->n_marks++] = offset;
    return MLD_OK;
}

static enum mld_error check_line(struct shard_index *index, struct run *run,
                                 const struct line *line, shard_check *check, void *payload)
{
    bool good = false;
    enum mld_error error = json_parse(&run->doc, line->text, line->len);

    if (error == MLD_OK)
        error = check(&run->doc, line, payload, &good);
    else if (error != MLD_ENOMEM)
        error = MLD_OK;
    if (error != MLD_OK)
        return error;
    if (!good)
        return state_problem(&run->state, MLD_PROBLEM_GARBLED, index->file, (uint64_t)line->offset,
                             "a line that does not parse; it is skipped");
    if (index->count % SHARD_INDEX_STEP == 0)
        error = add_mark(index, line->offset);
    if (error == MLD_OK)
        index->count++;
    return error;
}

/* True when the indexed part can still be what it was: the same file, not cut, and a newline where
 * the last line ended. */
static bool is_same(const struct shard_index *index, const struct line_reader *reader,
                    const struct stat *st)
{
    char last = '\0';
    size_t len = 0;

    if (index->offset == 0)
        return true;
    if (st->st_ino != index->inode)
        return false;
    return fs_pread(reader->fd, &last, 1, index->offset - 1, &len, index->file) == MLD_OK &&
           len == 1 && last == '\n';
}

static enum mld_error index_lines(struct shard_index *index, struct run *run,
                                  struct line_reader *reader, shard_check *check, void *payload)
{
    struct line line;
    enum mld_error error = lines_next(reader, &line);

    while (error == MLD_OK && line.text != NULL) {
        error = check_line(index, run, &line, check, payload);
        if (error == MLD_OK) {
            index->offset = reader->offset;
            error = lines_next(reader, &line);
        }
    }
    return error;
}

enum mld_error shard_index_update(struct shard_index *index, struct run *run, shard_check *check,
                                  void *payload, bool *out_replaced)
{
    struct line_reader reader;
    struct stat st;

    *out_replaced = false;
    enum mld_error error = lines_open(&reader, run->dir_fd, index->file, index->offset);
    if (error == MLD_ENOTFOUND) { /* its record came before its first line, or it was removed */
        *out_replaced = index->offset > 0;
        shard_index_free(index);
        return MLD_OK;
    }
    if (error == MLD_OK && fstat(reader.fd, &st) != 0)
        error = error_set(MLD_EIO, "cannot look at %s", index->file);
    if (error == MLD_OK) {
        *out_replaced = !is_same(index, &reader, &st);
        if (*out_replaced) {
            shard_index_free(index);
        } else {
            index->inode = st.st_ino;
            index->changed_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
            if (st.st_size > index->offset)
                error = index_lines(index, run, &reader, check, payload);
        }
    }
    lines_close(&reader);
    return error;
}

enum mld_error shard_index_seek(const struct shard_index *index, const struct run *run, int64_t n,
                                struct line_reader *reader, int64_t *out_at)
{
    size_t mark = (size_t)(n / SHARD_INDEX_STEP);

    *out_at = (int64_t)mark * SHARD_INDEX_STEP;
    return lines_open(reader, run->dir_fd, index->file, index->marks[mark]);
}
