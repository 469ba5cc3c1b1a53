-- Tokens carry their user's generation. It grows with each change of the user; tokens of earlier ones are revoked.
alter table users add column generation bigint not null default 0;

alter table sessions add column number bigint generated always as identity;
create index sessions_of_user on sessions (user_id, number);

-- Numbers revocations; one row, locked by each transaction that revokes until it commits, so that nobody who has read up
-- to a sequence misses an earlier one that commits later.
create table revocation_numbers (
    single boolean primary key default true check (single),
    epoch bigint not null,
    sequence bigint not null,
    -- The longest that an access token of this installation ever lived.
    token_lifetime_s integer not null
);

insert into revocation_numbers (epoch, sequence, token_lifetime_s) values (extract(epoch from now())::bigint, 0, 300);

create table revocations (
    sequence bigint primary key,
    kind text not null check (kind in ('session', 'api_key', 'user')),
    subject text not null,
    generation bigint not null,
    revoked_at timestamptz not null,
    matters_until timestamptz not null
);

create index revocations_by_end on revocations (matters_until);
