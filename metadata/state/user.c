/* Users and their access keys. A secret comes encrypted and authenticated under the cluster key; here
 * it is opaque bytes. */
#include "metadata/state/state_internal.h"

enum { SEALED_SECRET_MAX = 1024 };

void key_user(struct key *k, const char *name)
{
    key_begin2(k, 'm', 'u');
    key_raw(k, name, strlen(name));
}

void key_access(struct key *k, const char *access_key)
{
    key_begin2(k, 'm', 'k');
    key_raw(k, access_key, strlen(access_key));
}

enum err apply_create_user(struct apply *a, const CreateUser *c)
{
    struct key name, access;
    struct kv_slice value;
    if (c->user == NULL || c->user->name[0] == 0 || strlen(c->user->name) > STATE_TEXT_MAX ||
        c->user->access_key[0] == 0 || strlen(c->user->access_key) > STATE_TEXT_MAX ||
        c->user->sealed_secret.len > SEALED_SECRET_MAX)
        return ERR_INVALID;
    key_user(&name, c->user->name);
    key_access(&access, c->user->access_key);
    if (txn_get(a->txn, &name, &value) || txn_get(a->txn, &access, &value))
        return ERR_EXISTS;
    UserInfo user = *c->user;
    user.created = a->time;
    txn_put_message(a->txn, &name, &user.base);
    txn_put(a->txn, &access, user.name, strlen(user.name));
    return OK;
}

enum err apply_delete_user(struct apply *a, const DeleteUser *c)
{
    struct key name, access;
    UserInfo *user;
    if (c->name[0] == 0 || strlen(c->name) > STATE_TEXT_MAX)
        return ERR_INVALID;
    key_user(&name, c->name);
    if (!txn_get_message(a->txn, &name, &user_info__descriptor, &user))
        return ERR_NO_USER;
    key_access(&access, user->access_key);
    txn_remove(a->txn, &name);
    txn_remove(a->txn, &access);
    return OK;
}
