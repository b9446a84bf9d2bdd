#include "run/file_snapshot.h"

#include <stdlib.h>
#include <string.h>

/* Strings are packed into one block whose size is counted first: a list of 100,000 files needs
 * 100,000 blocks, not two million. */
struct packer {
    char *at;     /* NULL while counting */
    size_t bytes; /* counted */
};

static const char *pack_text(struct packer *p, const char *text)
{
    if (text == NULL)
        return NULL;
    size_t size = strlen(text) + 1;
    p->bytes += size;
    if (p->at == NULL)
        return NULL;
    char *copy = memcpy(p->at, text, size);
    p->at += size;
    return copy;
}

/* Pointers first, while the block is aligned. */
static const char **pack_pointers(struct packer *p, size_t count)
{
    size_t size = count * sizeof(char *);
    p->bytes += size;
    if (p->at == NULL || count == 0)
        return NULL;
    const char **pointers = (const char **)(void *)p->at;
    p->at += size;
    return pointers;
}

static size_t count_aliases(const struct file_entry *f)
{
    size_t n = 0;
    for (const struct alias_entry *a = f->name->aliases; a != NULL; a = a->next)
        n += a->id != NULL && strcmp(a->id, f->id) == 0;
    return n;
}

static void pack_list(struct packer *p, const char **pointers, struct string_list list)
{
    for (size_t i = 0; i < list.count; i++) {
        const char *copy = pack_text(p, list.items[i]);
        if (pointers != NULL)
            pointers[i] = copy;
    }
}

static void pack_aliases(struct packer *p, const char **pointers, const struct file_entry *f)
{
    size_t n = 0;
    for (const struct alias_entry *a = f->name->aliases; a != NULL; a = a->next) {
        if (a->id == NULL || strcmp(a->id, f->id) != 0)
            continue;
        const char *copy = pack_text(p, a->alias);
        if (pointers != NULL)
            pointers[n] = copy;
        n++;
    }
}

static void pack(struct mld_file *out, struct packer *p, const struct file_entry *f)
{
    size_t n_aliases = count_aliases(f);
    const char **tags = pack_pointers(p, f->tags.count);
    const char **bindrs = pack_pointers(p, f->bindrs.count);
    const char **aliases = pack_pointers(p, n_aliases);
    pack_list(p, tags, f->tags);
    pack_list(p, bindrs, f->bindrs);
    pack_aliases(p, aliases, f);
    *out = (struct mld_file){
        .id = pack_text(p, f->id),
        .path = pack_text(p, f->path),
        .filename = pack_text(p, f->filename),
        .description = pack_text(p, f->description),
        .tags = tags,
        .n_tags = f->tags.count,
        .bindrs = bindrs,
        .n_bindrs = f->bindrs.count,
        .content_type = pack_text(p, f->content_type),
        .size_bytes = f->size_bytes,
        .checksum = pack_text(p, f->checksum),
        .metadata_json = pack_text(p, f->metadata),
        .uploaded_at = pack_text(p, f->uploaded_at),
        .updated_at = pack_text(p, f->updated_at),
        .deleted_at = pack_text(p, f->deleted_at),
        .aliases = aliases,
        .n_aliases = n_aliases,
        .newest = state_newest(f->name) == f,
        .damaged = f->damaged,
    };
}

static enum mld_error no_memory(const struct file_entry *f)
{
    return error_set(MLD_ENOMEM, "out of memory for the record of %s", f->filename);
}

enum mld_error file_snapshot_fill(struct mld_file *out, const struct file_entry *f,
                                  struct arena *arena)
{
    struct packer p = {NULL, 0};
    pack(out, &p, f);
    p.at = arena_alloc(arena, p.bytes);
    if (p.at == NULL)
        return no_memory(f);
    pack(out, &p, f);
    return MLD_OK;
}

enum mld_error file_snapshot_new(struct mld_file **out, const struct file_entry *f)
{
    struct mld_file counted;
    struct packer p = {NULL, 0};
    pack(&counted, &p, f);
    *out = malloc(sizeof **out + p.bytes);
    if (*out == NULL)
        return no_memory(f);
    p.at = (char *)(*out + 1);
    pack(*out, &p, f);
    return MLD_OK;
}

void mld_file_free(struct mld_file *file)
{
    free(file);
}

void mld_free(void *memory)
{
    free(memory);
}
