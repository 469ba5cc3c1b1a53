-- What client keys were used for, and the first result of each.
create table client_keys (
    owner text not null,
    method text not null,
    key text not null,
    fingerprint bytea not null,
    subject text not null default '',
    response bytea not null default '',
    created_at timestamptz not null default now(),
    primary key (owner, method, key)
);

-- Who changed what.
create table audit_log (
    entry_id bigint generated always as identity primary key,
    recorded_at timestamptz not null default now(),
    method text not null,
    actor text not null,
    username text not null,
    subject text not null,
    request_id text not null
);

create index audit_log_of_subject on audit_log (subject, entry_id);
