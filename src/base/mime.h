/* mime.h: content type by file name, as Python's mimetypes would say for the types that training produces. */
#ifndef BASE_MIME_H
#define BASE_MIME_H

/* A constant string; "application/octet-stream" when unknown. Case of the extension does not matter. */
const char *mime_type_of(const char *filename);

#endif
