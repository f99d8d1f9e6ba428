#include "tools/user_new.h"
#include <stdio.h>
#include <string.h>
#include "common/sys/sys.h"

enum { ACCESS_KEY_CHARS = 20, SECRET_CHARS = 40 };

static void random_text(char *out, size_t n, const char *alphabet)
{
    size_t letters = strlen(alphabet);
    for (size_t i = 0; i < n; i++) {
        uint8_t byte;
        do /* no letter is likelier than another */
            sys_random(&byte, 1);
        while (byte >= 256 / letters * letters);
        out[i] = alphabet[byte % letters];
    }
    out[n] = 0;
}

void user_keys_random(struct user_keys *keys)
{
    random_text(keys->access_key, ACCESS_KEY_CHARS, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
    random_text(keys->secret, SECRET_CHARS,
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
}

bool user_name_valid(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@");
    return n > 0 && n <= USER_NAME_MAX && !name[n];
}

void user_command(struct user_command *out, const struct rpc_key *key, const char *name,
                  const struct user_keys *keys, bool root)
{
    uint8_t nonce[SEAL_NONCE_BYTES];
    size_t n = strlen(keys->secret);
    sys_random(nonce, sizeof nonce);
    seal(key->bytes, key->id, nonce, keys->access_key, keys->secret, n, out->sealed);
    snprintf(out->name, sizeof out->name, "%s", name);
    memcpy(out->access_key, keys->access_key, sizeof out->access_key);
    user_info__init(&out->user);
    out->user.name = out->name;
    out->user.access_key = out->access_key;
    out->user.sealed_secret = (ProtobufCBinaryData){n + SEAL_OVERHEAD, out->sealed};
    out->user.root = root;
    create_user__init(&out->body);
    out->body.user = &out->user;
    command__init(&out->command);
    out->command.body_case = COMMAND__BODY_CREATE_USER;
    out->command.create_user = &out->body;
}
