/* pages.h: a word to the kernel about large memory. */
#ifndef BASE_PAGES_H
#define BASE_PAGES_H

#include <stddef.h>

/* Asks for huge pages in [memory, memory + size), where they fit whole: filling new memory in pages
 * of 4 KB takes longer than reading 100,000 records into it. Only a hint; never fails. */
void pages_prefer_huge(void *memory, size_t size);

#endif
