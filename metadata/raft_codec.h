/* Raft messages as bytes: common/proto/raft.proto. What comes in is checked and bounded here. */
#pragma once
#include <stddef.h>
#include "common/base/err.h"
#include "metadata/raft/types.h"

enum { RAFT_CODEC_MAX = 4 << 20 }; /* the largest message that decodes */

size_t raft_codec_size(const struct raft_message *m);
/* out holds raft_codec_size bytes. */
void raft_codec_encode(const struct raft_message *m, void *out);
/* On OK *out owns its entries: raft_message_release or driver_receive. ERR_FORMAT | ERR_TOO_BIG. */
enum err raft_codec_decode(const void *data, size_t n, struct raft_message *out) MUST_USE;
