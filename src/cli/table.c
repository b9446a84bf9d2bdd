/* table.c: the tables of text.h. */
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"

void text_table_init(struct text_table *table, const char *const *headers, size_t n_columns)
{
    memset(table, 0, sizeof(*table));
    table->headers = headers;
    table->n_columns = n_columns;
}

void text_table_add(struct text_table *table, struct buf *cell, enum text_style style)
{
    if (table->count == table->capacity) {
        size_t capacity = table->capacity ? 2 * table->capacity : 64;
        struct text_cell *cells = realloc(table->cells, capacity * sizeof(*cells));
        if (!cells) {
            table->failed = true;
            return;
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    char *text = strdup(buf_text(cell));
    table->failed = table->failed || !text || cell->failed != MLD_OK;
    table->cells[table->count].text = text;
    table->cells[table->count++].style = style;
    buf_clear(cell);
}

static const char *text_of(const char *text)
{
    return text ? text : "";
}

static const char *header_of(const struct text_table *table, size_t column, bool *out_right)
{
    const char *header = table->headers ? table->headers[column] : "";
    *out_right = header[0] == '>';
    return header + (header[0] == '>');
}

/* 0 when all cells are empty: such a column is not shown. */
static size_t column_width(const struct text_table *table, size_t column)
{
    bool right;
    size_t width = 0;
    for (size_t i = column; i < table->count; i += table->n_columns) {
        size_t own = text_width(text_of(table->cells[i].text));
        width = own > width ? own : width;
    }
    size_t header = text_width(header_of(table, column, &right));
    return width && header > width ? header : width;
}

static void put_spaces(struct buf *out, size_t count)
{
    while (count--)
        buf_putc(out, ' ');
}

/* The last column is not filled up, so that no line ends with spaces. */
static void put_cell(struct buf *out, const struct text_table *table, const size_t *widths,
                     size_t column, const char *text, enum text_style style, bool colour)
{
    bool right;
    if (widths[column] == 0)
        return;
    header_of(table, column, &right);
    size_t fill = widths[column] - text_width(text);
    bool last = column + 1 == table->n_columns;
    if (right)
        put_spaces(out, fill);
    text_put_style(out, colour, style, text);
    if (!last)
        put_spaces(out, (right ? 0 : fill) + 2);
}

/* A row whose last cells are empty would end with spaces. */
static void trim_line(struct buf *out)
{
    while (out->len && out->data[out->len - 1] == ' ')
        out->data[--out->len] = '\0';
    buf_putc(out, '\n');
}

void text_table_put(struct buf *out, const struct text_table *table, const char *indent,
                    bool colour)
{
    size_t *widths = calloc(table->n_columns, sizeof(*widths));
    if (!widths || table->failed) {
        out->failed = MLD_ENOMEM;
        free(widths);
        return;
    }
    for (size_t column = 0; column < table->n_columns; column++)
        widths[column] = column_width(table, column);
    if (table->headers) {
        buf_puts(out, indent);
        for (size_t column = 0; column < table->n_columns; column++) {
            bool right;
            const char *header = header_of(table, column, &right);
            put_cell(out, table, widths, column, header, TEXT_DIM, colour);
        }
        trim_line(out);
    }
    for (size_t i = 0; i < table->count; i++) {
        size_t column = i % table->n_columns;
        if (column == 0)
            buf_puts(out, indent);
        put_cell(out, table, widths, column, text_of(table->cells[i].text), table->cells[i].style,
                 colour);
        if (column + 1 == table->n_columns)
            trim_line(out);
    }
    free(widths);
}

void text_table_free(struct text_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i].text);
    free(table->cells);
    memset(table, 0, sizeof(*table));
}
