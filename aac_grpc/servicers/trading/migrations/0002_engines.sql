-- The engines that run: who may be asked for the venues whose leases name it, and among how many venues are shared.
-- An engine that does not know this table holds leases all the same; nobody can forward to it.
create table engines (
    instance text primary key,
    address text not null,
    expires_at timestamptz not null
) with (fillfactor = 50);
