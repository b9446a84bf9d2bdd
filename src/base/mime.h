/* mime.h: content type by file name, as Python's mimetypes would say for the types that training
 * produces. */
#ifndef BASE_MIME_H
#define BASE_MIME_H

/* Of compressed files the type of the content ("a.csv.gz" is text/csv), as Python does. What Python
 * does not know everywhere is taken from the registered types: .md, .webp, .yaml.
 * A constant string; "application/octet-stream" when unknown. Case of the extension does not
 * matter. */
const char *mime_type_of(const char *filename);

#endif
