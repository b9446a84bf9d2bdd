/* Any bytes go in. What the parser accepts must survive: compacted it means the same, and each
 * string and number in it, decoded and written again, reads as the same value. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* True when `text` parses and its root is the same as `node`. */
static bool reads_as(const struct buf *text, const struct json_doc *doc,
                     const struct json_node *node)
{
    struct json_doc again;

    require(text->failed == MLD_OK);
    json_doc_init(&again);
    bool same = json_parse(&again, text->data, text->len) == MLD_OK &&
                json_same(doc, node, &again, json_root(&again));
    json_doc_free(&again);
    return same;
}

static void check_string(const struct json_doc *doc, const struct json_node *node, struct buf *text)
{
    char *decoded = json_strdup(doc, node);
    struct buf bytes;

    require(decoded != NULL);
    buf_init(&bytes, JSON_MAX_TEXT_BYTES);
    json_decoded(doc, node, &bytes);
    require(bytes.len <= node->len);
    require(json_equals(doc, node, decoded) == (strlen(decoded) == bytes.len));
    json_put_string(text, buf_text(&bytes), bytes.len);
    require(reads_as(text, doc, node));
    buf_free(&bytes);
    free(decoded);
}

static void check_number(const struct json_doc *doc, const struct json_node *node, struct buf *text)
{
    double number = 0;
    double back = 0;
    int64_t integer = 0;
    struct json_doc again;

    require(json_double(doc, node, &number));
    json_doc_init(&again);
    json_put_double(text, number);
    require(json_parse(&again, text->data, text->len) == MLD_OK);
    require(json_double(&again, json_root(&again), &back));
    require(number == back || (isnan(number) && isnan(back)));
    json_doc_free(&again);
    if (json_int64(doc, node, &integer)) {
        buf_clear(text);
        json_put_int64(text, integer);
        require(reads_as(text, doc, node));
    }
}

static void check_members(const struct json_doc *doc, const struct json_node *parent)
{
    const struct json_node *child = NULL;
    uint32_t count = 0;

    while ((child = json_next(doc, parent, child)) != NULL) {
        require(child < doc->nodes + parent->next);
        require(parent->type != JSON_OBJECT || child->type == JSON_STRING);
        count++;
    }
    require(count == parent->count);
}

static void check_node(const struct json_doc *doc, const struct json_node *node, struct buf *text)
{
    const char *raw;
    size_t len;

    buf_clear(text);
    if (node->type == JSON_STRING)
        check_string(doc, node, text);
    else if (node->type == JSON_NUMBER)
        check_number(doc, node, text);
    else
        check_members(doc, node);
    buf_clear(text);
    raw = json_raw(doc, node, &len);
    json_put_compact(text, raw, len);
    require(memchr(text->data, '\n', text->len) == NULL);
    require(reads_as(text, doc, node));
}

/* Any bytes, written as a string, are valid JSON. */
static void check_writer(const char *bytes, size_t size, struct buf *text)
{
    struct json_doc doc;

    buf_clear(text);
    json_put_string(text, bytes, size);
    json_doc_init(&doc);
    require(json_parse(&doc, text->data, text->len) == MLD_OK);
    json_doc_free(&doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_doc doc;
    struct buf text;
    char *own = malloc(size > 0 ? size : 1); /* of exactly this size, for the sanitizer */

    require(own != NULL);
    if (size > 0)
        memcpy(own, data, size);
    buf_init(&text, JSON_MAX_TEXT_BYTES);
    json_doc_init(&doc);
    if (size <= 4096 && json_parse(&doc, own, size) == MLD_OK) {
        for (uint32_t i = 0; i < doc.count; i++)
            check_node(&doc, &doc.nodes[i], &text);
    }
    check_writer(own, size, &text);
    json_doc_free(&doc);
    buf_free(&text);
    free(own);
    return 0;
}
