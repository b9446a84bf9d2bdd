/* device_page.h: the pages of the browser's part of a login: plain HTML without scripts. Every text
 * that comes from outside is escaped here. */
#ifndef SERVER_DEVICE_PAGE_H
#define SERVER_DEVICE_PAGE_H

#include <stdint.h>

#include "base/buf.h"

#define DEVICE_PAGE_MAX_BYTES (64u << 10)

/* What a page shows; texts may be NULL or "". */
struct device_page {
    const char *form_token;
    const char *code;     /* as for people, or as typed */
    const char *problem;  /* what went wrong before */
    const char *username; /* who is signed in */
    const char *client;   /* of the login, with its address and age */
    const char *address;
    int64_t age_s;
};

void page_put_escaped(struct buf *out, const char *text);

/* A whole page into `out`, which is empty. */
void page_put_sign_in(struct buf *out, const struct device_page *page);
void page_put_code(struct buf *out, const struct device_page *page);    /* asks for a code */
void page_put_approve(struct buf *out, const struct device_page *page); /* asks for the decision */
void page_put_message(struct buf *out, const char *title, const char *text);
void page_put_style(struct buf *out); /* the style sheet of all */

#endif
