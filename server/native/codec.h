/* What the codec's encoder needs of its neighbours. */
#ifndef TW_NS_CODEC_H
#define TW_NS_CODEC_H

#include "pixel.h"
#include "tw_codec_model.h"

#endif
