/* blob_dir_file.c: the format of the files of blobs and uploads, and where they lie. */
#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/hash.h"
#include "blob/blob_dir.h"

#define HEADER_MAGIC "MLDBLOB1"
#define HEADER_MAGIC_KIND 7 /* bytes before the version's digit */
#define SEAL_MAGIC "SEAL"

/* Offsets in the header. */
enum {
    AT_SIZE = 8,
    AT_PART_SIZE = 16,
    AT_N_PARTS = 24,
    AT_KEY_LEN = 28,
    AT_NAME = 32,
    AT_KEY = 64
};
#define AT_HEADER_CRC (DIR_HEADER_BYTES - 4)
/* In the seal. */
enum { AT_SEAL_CRC = 4, AT_SEAL_DIGEST = 8 };
/* In a record. */
enum { AT_BOOT = 64, AT_NUMBER = 72, AT_RECORD_CRC = 76 };

static_assert(AT_KEY + BLOB_MAX_KEY_BYTES <= AT_HEADER_CRC, "the key fits");
static_assert(AT_SEAL_DIGEST + SHA256_HEX_LEN == DIR_SEAL_BYTES, "the seal is dense");
static_assert(AT_RECORD_CRC + 4 == DIR_RECORD_BYTES, "a record is dense");
static_assert(AT_NAME + ID_RANDOM_LEN == AT_KEY, "a name fits");

static void put_u64(unsigned char *out, uint64_t value)
{
    uint64_t little = htole64(value);

    memcpy(out, &little, sizeof(little));
}

static void put_u32(unsigned char *out, uint32_t value)
{
    uint32_t little = htole32(value);

    memcpy(out, &little, sizeof(little));
}

static uint64_t get_u64(const unsigned char *in)
{
    uint64_t little;

    memcpy(&little, in, sizeof(little));
    return le64toh(little);
}

static uint32_t get_u32(const unsigned char *in)
{
    uint32_t little;

    memcpy(&little, in, sizeof(little));
    return le32toh(little);
}

static bool is_hex(const char *text, size_t len)
{
    return strnlen(text, len) == len && strspn(text, "0123456789abcdef") >= len;
}

bool dir_is_name(const char *name)
{
    return is_hex(name, ID_RANDOM_LEN) && name[ID_RANDOM_LEN] == '\0';
}

enum mld_error dir_blob_path(struct dir_path *out, const char *key)
{
    struct sha256 hash = {.context = NULL};
    char hex[SHA256_HEX_LEN + 1];
    enum mld_error error = sha256_begin(&hash);

    if (error == MLD_OK) {
        sha256_update(&hash, key, strlen(key));
        error = sha256_end(&hash, hex);
    }
    sha256_free(&hash);
    if (error == MLD_OK)
        snprintf(out->text, sizeof(out->text), "blobs/%.2s/%.2s/%s", hex, hex + 2, hex);
    return error;
}

struct dir_path dir_path_parent(const struct dir_path *path)
{
    struct dir_path parent = *path;
    char *slash = strrchr(parent.text, '/');

    assert(slash != NULL);
    *slash = '\0';
    return parent;
}

struct dir_path dir_upload_path(const char *prefix, const char *name)
{
    struct dir_path path;

    snprintf(path.text, sizeof(path.text), "uploads/%s%s", prefix, name);
    return path;
}

uint64_t dir_file_length(const struct dir_file *file)
{
    return DIR_DATA_OFFSET + file->size_bytes + (uint64_t)file->n_parts * DIR_RECORD_BYTES;
}

static void header_encode(unsigned char out[DIR_HEADER_BYTES], const struct dir_file *file)
{
    size_t key_len = strlen(file->key);

    memset(out, 0, DIR_HEADER_BYTES);
    memcpy(out, HEADER_MAGIC, strlen(HEADER_MAGIC));
    put_u64(out + AT_SIZE, file->size_bytes);
    put_u64(out + AT_PART_SIZE, file->part_size_bytes);
    put_u32(out + AT_N_PARTS, file->n_parts);
    put_u32(out + AT_KEY_LEN, (uint32_t)key_len);
    memcpy(out + AT_NAME, file->name, ID_RANDOM_LEN);
    memcpy(out + AT_KEY, file->key, key_len);
    put_u32(out + AT_HEADER_CRC, crc32c(0, out, AT_HEADER_CRC));
}

enum mld_error dir_header_write(int fd, const struct dir_file *file, const char *path)
{
    unsigned char header[DIR_HEADER_BYTES];

    header_encode(header, file);
    return fs_pwrite_all(fd, header, sizeof(header), 0, path);
}

/* Binds the seal to this very header. */
static uint32_t seal_crc(const unsigned char *header, const char *digest)
{
    return crc32c(get_u32(header + AT_HEADER_CRC), digest, SHA256_HEX_LEN);
}

enum mld_error dir_seal_write(int fd, const struct dir_file *file, const struct blob_digest *digest,
                              const char *path)
{
    unsigned char header[DIR_HEADER_BYTES];
    unsigned char seal[DIR_SEAL_BYTES];

    header_encode(header, file);
    memcpy(seal, SEAL_MAGIC, AT_SEAL_CRC);
    put_u32(seal + AT_SEAL_CRC, seal_crc(header, digest->hex));
    memcpy(seal + AT_SEAL_DIGEST, digest->hex, SHA256_HEX_LEN);
    return fs_pwrite_all(fd, seal, sizeof(seal), DIR_HEADER_BYTES, path);
}

static enum mld_error damaged(const char *path, const char *what)
{
    return error_set(MLD_EDAMAGED, "'%s' in the blob store is damaged: %s", path, what);
}

static enum mld_error header_decode(struct dir_file *out, const unsigned char *in, const char *path)
{
    uint32_t key_len = get_u32(in + AT_KEY_LEN);
    uint64_t parts;

    if (memcmp(in, HEADER_MAGIC, HEADER_MAGIC_KIND) == 0 &&
        in[HEADER_MAGIC_KIND] != HEADER_MAGIC[HEADER_MAGIC_KIND])
        return error_set(MLD_EFORMAT, "'%s' in the blob store is of version '%c', not '%c'", path,
                         in[HEADER_MAGIC_KIND], HEADER_MAGIC[HEADER_MAGIC_KIND]);
    if (memcmp(in, HEADER_MAGIC, strlen(HEADER_MAGIC)) != 0 ||
        get_u32(in + AT_HEADER_CRC) != crc32c(0, in, AT_HEADER_CRC))
        return damaged(path, "its header does not have its checksum");
    out->size_bytes = get_u64(in + AT_SIZE);
    out->part_size_bytes = get_u64(in + AT_PART_SIZE);
    out->n_parts = get_u32(in + AT_N_PARTS);
    if (key_len == 0 || key_len > BLOB_MAX_KEY_BYTES || out->part_size_bytes == 0 ||
        out->size_bytes > BLOB_MAX_BYTES || out->n_parts > BLOB_MAX_PARTS)
        return damaged(path, "its header makes no sense");
    parts = blob_part_count(out->size_bytes, out->part_size_bytes);
    if (out->n_parts != 0 && out->n_parts != parts)
        return damaged(path, "its header has another number of parts");
    memcpy(out->name, in + AT_NAME, ID_RANDOM_LEN);
    memcpy(out->key, in + AT_KEY, key_len);
    return MLD_OK;
}

enum mld_error dir_file_read(struct dir_file *out, int fd, const char *path)
{
    unsigned char head[DIR_HEADER_BYTES + DIR_SEAL_BYTES];
    const unsigned char *seal = head + DIR_HEADER_BYTES;
    struct stat st;
    size_t len;
    enum mld_error error;

    memset(out, 0, sizeof(*out));
    error = fs_pread(fd, head, sizeof(head), 0, &len, path);
    if (error != MLD_OK)
        return error;
    if (len != sizeof(head))
        return damaged(path, "it is too short for a header");
    error = header_decode(out, head, path);
    if (error != MLD_OK)
        return error;
    if (fstat(fd, &st) != 0)
        return error_set(MLD_EIO, "cannot look at '%s' in the blob store", path);
    if ((uint64_t)st.st_size < dir_file_length(out))
        return damaged(path, "it is shorter than it says");
    const char *digest = (const char *)seal + AT_SEAL_DIGEST;
    if (memcmp(seal, SEAL_MAGIC, AT_SEAL_CRC) == 0 &&
        get_u32(seal + AT_SEAL_CRC) == seal_crc(head, digest))
        memcpy(out->digest.hex, digest, SHA256_HEX_LEN);
    return MLD_OK;
}

enum mld_error dir_record_write(int fd, const struct dir_file *file, uint32_t number,
                                const struct blob_digest *digest, uint64_t boot, const char *path)
{
    unsigned char record[DIR_RECORD_BYTES] = {0};
    uint64_t offset = DIR_DATA_OFFSET + file->size_bytes + (uint64_t)number * DIR_RECORD_BYTES;

    assert(number < file->n_parts);
    if (digest != NULL) {
        memcpy(record, digest->hex, SHA256_HEX_LEN);
        put_u64(record + AT_BOOT, boot);
        put_u32(record + AT_NUMBER, number);
        put_u32(record + AT_RECORD_CRC, crc32c(0, record, AT_RECORD_CRC));
    }
    return fs_pwrite_all(fd, record, sizeof(record), (off_t)offset, path);
}

enum mld_error dir_records_read(struct blob_digest *digests, uint64_t boot, bool *out_boots_differ,
                                int fd, const struct dir_file *file, const char *path)
{
    unsigned char records[64 * DIR_RECORD_BYTES];
    const uint32_t at_once = sizeof(records) / DIR_RECORD_BYTES;
    uint64_t offset = DIR_DATA_OFFSET + file->size_bytes;

    *out_boots_differ = false;
    for (uint32_t i = 0; i < file->n_parts; i++) {
        const unsigned char *record = records + (size_t)(i % at_once) * DIR_RECORD_BYTES;
        if (i % at_once == 0) {
            size_t len;
            enum mld_error error =
                fs_pread(fd, records, sizeof(records),
                         (off_t)(offset + (uint64_t)i * DIR_RECORD_BYTES), &len, path);
            if (error != MLD_OK)
                return error;
            memset(records + len, 0, sizeof(records) - len);
        }
        if (get_u32(record + AT_NUMBER) != i || !is_hex((const char *)record, SHA256_HEX_LEN) ||
            get_u32(record + AT_RECORD_CRC) != crc32c(0, record, AT_RECORD_CRC))
            continue;
        memcpy(digests[i].hex, record, SHA256_HEX_LEN);
        if (get_u64(record + AT_BOOT) != boot)
            *out_boots_differ = true;
    }
    return MLD_OK;
}
