#include "tilewire/tilewire.h"

#define TW_STATUS_TEXT(name, value, text) \
    case value: return text;

const char *tw_status_text(unsigned code) {
#if TW_WITH_TEXTS
    switch (code) {
        TW_CODES(TW_STATUS_TEXT)
    default: break;
    }
#else
    (void)code;
#endif
    return "";
}
