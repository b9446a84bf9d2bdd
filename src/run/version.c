#include "mldash/folder.h"

const char *mld_version(void)
{
    return MLDASH_VERSION;
}
