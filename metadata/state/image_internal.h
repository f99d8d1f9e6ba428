/* What making and taking an image share. */
#pragma once
#include "common/base/cursor.h"
#include "common/kv/kv.h"
#include "metadata/state/image.h"

enum {
    IMAGE_HEADER_BYTES = 60,
    IMAGE_BLOCK_HEAD = 8,
    IMAGE_BLOCK_BYTES = 64 << 10,
    IMAGE_END_BYTES = 24,
    IMAGE_ROW_HEAD = 8,
    IMAGE_KEY_MAX = 4096,
    IMAGE_VALUE_MAX = 8 << 20,
    IMAGE_BODY_MAX = IMAGE_BLOCK_BYTES + IMAGE_ROW_HEAD + IMAGE_KEY_MAX + IMAGE_VALUE_MAX,
};
#define IMAGE_MAGIC "CAIRNIMG"

uint32_t image_crc(uint64_t offset, const void *body, size_t n);
uint64_t image_digest(uint64_t digest, struct kv_slice key, struct kv_slice value);
