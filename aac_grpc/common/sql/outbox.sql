-- Events that were committed with their changes and wait for Kafka. `position` is drawn while the aggregate's row lock is
-- held, so along a key it grows with the version; over all keys it is no cursor, because transactions commit in any order.
create table outbox (
    event_id text primary key,
    position bigint generated always as identity,
    topic text not null,
    key text not null,
    version bigint not null,
    type text not null,
    payload bytea not null,
    created_at timestamptz not null default clock_timestamp(),
    published_at timestamptz
);

create index outbox_unpublished on outbox (position) where published_at is null;
create index outbox_published on outbox (published_at) where published_at is not null;
