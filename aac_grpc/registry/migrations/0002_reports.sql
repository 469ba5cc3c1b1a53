-- What an instance says of itself with each heartbeat: serving as in aac.registry.v1.ServingState, and its circuit
-- breakers that are not closed, as a list of {target, state, since_ns}.
alter table instances
    add column serving smallint not null default 0,
    add column breakers jsonb not null default '[]',
    add column renewed_at timestamptz not null default now();
