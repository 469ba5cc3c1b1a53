-- Ids of the events whose effects are in this schema: each takes effect once, however often Kafka delivers it.
create table inbox (
    consumer text not null,
    event_id text not null,
    handled_at timestamptz not null default now(),
    primary key (consumer, event_id)
);

create index inbox_age on inbox (handled_at);

-- Keys whose events go to the dead-letter topic, because one of them could not be handled. Delete a row to let the key's
-- next events through again.
create table parked_keys (
    consumer text not null,
    topic text not null,
    key text not null,
    event_id text not null,
    reason text not null,
    events bigint not null default 1,
    parked_at timestamptz not null default now(),
    primary key (consumer, topic, key)
);
