-- Client keys are forgotten after a while.
create index client_keys_by_age on client_keys (created_at);
