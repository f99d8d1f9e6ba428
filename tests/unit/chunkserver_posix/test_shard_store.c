/* The same suite on real threads, a real file system and LevelDB. */
#include "tests/unit/chunkserver/test_shard_store.c"
