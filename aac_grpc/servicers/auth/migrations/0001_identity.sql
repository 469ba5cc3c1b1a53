-- include: outbox
-- include: changes

create table firms (
    firm_id text primary key,
    name text not null,
    created_at timestamptz not null default now()
);

create table users (
    user_id text primary key,
    username text not null unique,
    firm_id text not null references firms,
    role text not null,
    plan text not null,
    password_hash text not null,
    disabled boolean not null default false,
    created_at timestamptz not null default now()
);

create index users_of_firm on users (firm_id, username);

create table accounts (
    account_id text primary key,
    firm_id text not null references firms,
    name text not null,
    created_at timestamptz not null default now()
);

create index accounts_of_firm on accounts (firm_id, account_id);

create table grants (
    user_id text not null references users on delete cascade,
    account_id text not null references accounts on delete cascade,
    primary key (user_id, account_id)
);

create index grants_of_account on grants (account_id);

-- Also of names that nobody has, so that a lockout does not tell which exist.
create table login_tries (
    username text primary key,
    tries integer not null,
    last_at timestamptz not null,
    locked_until timestamptz
);

-- A session is a family of refresh tokens, each the successor of the one before.
create table sessions (
    family_id text primary key,
    user_id text not null references users on delete cascade,
    created_at timestamptz not null,
    ends_at timestamptz not null,
    revoked_at timestamptz
);

create index sessions_by_end on sessions (ends_at);

create table refresh_tokens (
    token_hash bytea primary key,
    family_id text not null references sessions on delete cascade,
    expires_at timestamptz not null,
    used_at timestamptz,
    used_by text
);

create index refresh_tokens_of_session on refresh_tokens (family_id);

create table api_keys (
    key_id text primary key,
    number bigint generated always as identity,
    user_id text not null references users on delete cascade,
    name text not null,
    scopes text[] not null,
    account_ids text[] not null,
    secret_hash bytea not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz
);

create index api_keys_of_user on api_keys (user_id, number);

create table signing_keys (
    kid text primary key,
    public_key bytea not null,
    -- Nonce and AES-GCM ciphertext.
    private_key bytea not null,
    created_at timestamptz not null
);
