create table instances (
    instance_id text primary key,
    service text not null,
    address text not null,
    admin_address text not null,
    version text not null,
    registered_at timestamptz not null default now(),
    lease_expires_at timestamptz not null
);

create unique index instances_by_address on instances (service, address);

-- Numbers the changes of who is there; one row.
create table membership (
    single boolean primary key default true check (single),
    epoch bigint not null,
    sequence bigint not null
);

insert into membership (epoch, sequence) values (extract(epoch from now())::bigint, 1);
