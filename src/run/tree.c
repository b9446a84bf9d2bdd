#include "run/tree.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/id.h"

#define TREE_ROOT "files"
#define PENDING_MAX_BYTES (256u << 20)
#define TEMP_PREFIX ".mldash."
#define TEMP_SUFFIX ".tmp"
/* Ids of the published clients are milliseconds since 1970 << 12: below this for centuries. Ours
 * passed it in 2024. */
#define OWN_ID_MIN UINT64_C(50000000000000000)

struct walk {
    struct tree *tree;
    struct buf pending; /* NUL-terminated directories; the last comes next */
    const char *dir;
    size_t n_entries; /* of the directory that is being listed */
};

static enum mld_error add(struct tree *tree, const char *dir, const char *name, unsigned char type)
{
    if (tree->count == tree->capacity) {
        size_t capacity = tree->capacity == 0 ? 256 : 2 * tree->capacity;
        struct tree_item *items = realloc(tree->items, capacity * sizeof *items);
        if (items == NULL)
            return error_set(MLD_ENOMEM, "out of memory for a list of what is stored");
        tree->items = items;
        tree->capacity = capacity;
    }
    size_t dir_len = strlen(dir);
    size_t name_len = strlen(name);
    char *path = arena_alloc(&tree->arena, dir_len + name_len + 2);
    if (path == NULL)
        return error_set(MLD_ENOMEM, "out of memory for a list of what is stored");
    memcpy(path, dir, dir_len);
    if (name_len > 0) {
        path[dir_len] = '/';
        memcpy(path + dir_len + 1, name, name_len);
    }
    tree->items[tree->count++] = (struct tree_item){.path = path, .type = type};
    return MLD_OK;
}

static enum mld_error visit(const char *name, unsigned char type, void *payload)
{
    struct walk *walk = payload;
    walk->n_entries++;
    if (type != DT_DIR)
        return add(walk->tree, walk->dir, name, type);
    buf_puts(&walk->pending, walk->dir);
    buf_putc(&walk->pending, '/');
    buf_put(&walk->pending, name, strlen(name) + 1);
    return buf_check(&walk->pending, "directories to visit");
}

static enum mld_error walk_dir(struct walk *walk, int dir_fd, const char *dir)
{
    walk->dir = dir;
    walk->n_entries = 0;
    enum mld_error error = fs_list_dir(dir_fd, dir, visit, walk);
    if (error == MLD_EACCESS) /* what cannot be listed is reported as it is */
        return add(walk->tree, dir, "", DT_UNKNOWN);
    if (error == MLD_OK && walk->n_entries == 0 && strcmp(dir, TREE_ROOT) != 0)
        error = add(walk->tree, dir, "", DT_DIR);
    return error;
}

enum mld_error tree_read(struct tree *tree, int dir_fd)
{
    struct walk walk = {.tree = tree};
    buf_init(&walk.pending, PENDING_MAX_BYTES);
    enum mld_error error = walk_dir(&walk, dir_fd, TREE_ROOT);
    while (error == MLD_OK && walk.pending.len > 0) {
        size_t start = walk.pending.len - 1;
        while (start > 0 && walk.pending.data[start - 1] != '\0')
            start--;
        char *dir = strdup(walk.pending.data + start);
        if (dir == NULL) {
            error = error_set(MLD_ENOMEM, "out of memory for a path");
            break;
        }
        walk.pending.len = start;
        error = walk_dir(&walk, dir_fd, dir);
        free(dir);
    }
    buf_free(&walk.pending);
    return error;
}

bool tree_is_temporary(const char *name)
{
    size_t len = strlen(name);
    return len == strlen(TEMP_PREFIX) + ID_RANDOM_LEN + strlen(TEMP_SUFFIX) &&
           strncmp(name, TEMP_PREFIX, strlen(TEMP_PREFIX)) == 0 &&
           strcmp(name + len - strlen(TEMP_SUFFIX), TEMP_SUFFIX) == 0;
}

/* True when [start, end) is an id that this library gave. */
static bool parse_id(const char *start, const char *end, uint64_t *out)
{
    uint64_t id = 0;
    if (end - start < 1 || end - start > ID_FILE_MAX - 1)
        return false;
    for (const char *c = start; c < end; c++) {
        if (*c < '0' || *c > '9')
            return false;
        id = 10 * id + (uint64_t)(*c - '0');
    }
    *out = id;
    return id >= OWN_ID_MIN;
}

/* Fills what the name of the directory [start, end) tells. */
static void note_id(struct tree_item *item, const char *start, const char *end)
{
    uint64_t id;
    item->own_id = parse_id(start, end, &id);
    if (!item->own_id)
        return;
    item->slot = (unsigned)(id >> 12) & (SLOT_MAX - 1);
    item->made_ms = id_file_ms(id);
}

/* The file whose bytes would lie at the path; NULL: none. */
static struct file_entry *file_at(const struct run *run, const char *path, const char *id_start,
                                  const char *id_end)
{
    char id[128];
    size_t id_len = (size_t)(id_end - id_start);
    size_t dir_len = (size_t)(id_start - path) - strlen(TREE_ROOT) - 1; /* with its first "/" */
    if (id_len >= sizeof id)
        return NULL;
    memcpy(id, id_start, id_len);
    id[id_len] = '\0';
    struct file_entry *f = state_file(&run->state, id);
    if (f == NULL || strcmp(f->filename, id_end + 1) != 0)
        return NULL;
    if (dir_len == 0)
        return strcmp(f->path, "/") == 0 ? f : NULL;
    return strlen(f->path) == dir_len && memcmp(f->path, path + strlen(TREE_ROOT), dir_len) == 0
               ? f
               : NULL;
}

static void classify(struct tree_item *item, const struct run *run)
{
    const char *name = strrchr(item->path, '/');
    const char *dir = name;
    item->kind = TREE_FOREIGN;
    if (item->type == DT_DIR) {
        item->kind = TREE_EMPTY;
        note_id(item, name + 1, name + strlen(name));
        return;
    }
    if (strcmp(item->path, "files/.files_metadata.json") == 0 ||
        strcmp(item->path, "files/.files_metadata.lock") == 0) {
        item->kind = item->type == DT_REG ? TREE_VIEW : TREE_FOREIGN;
        return;
    }
    if (item->type == DT_REG && tree_is_temporary(name + 1)) {
        item->kind = TREE_TEMP;
        return;
    }
    while (dir > item->path && dir[-1] != '/')
        dir--;
    if (dir == item->path)
        return; /* directly below files/ */
    item->file = file_at(run, item->path, dir, name);
    if (item->file != NULL) {
        item->kind = TREE_FILE;
        return;
    }
    note_id(item, dir, name);
    if (item->own_id && item->type == DT_REG)
        item->kind = TREE_ORPHAN;
}

void tree_classify(struct tree *tree, const struct run *run)
{
    for (size_t i = 0; i < tree->count; i++)
        classify(&tree->items[i], run);
}

void tree_free(struct tree *tree)
{
    arena_free(&tree->arena);
    free(tree->items);
    *tree = (struct tree){0};
}
