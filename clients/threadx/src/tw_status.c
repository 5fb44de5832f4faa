#include "tilewire/tilewire.h"

#if TW_WITH_TEXTS

#    define TW_STATUS_TEXT(name, value, text) {value, text},

static const struct {
    unsigned code;
    const char *text;
} texts[] = {TW_CODES(TW_STATUS_TEXT)};

#endif

const char *tw_status_text(unsigned code) {
#if TW_WITH_TEXTS
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i].code == code) {
            return texts[i].text;
        }
    }
#else
    (void)code;
#endif
    return "";
}
