#!/bin/sh
# Runs once, in an empty PostgreSQL: for each service a database, the role that owns it (migrations, deliveries, jobs)
# and the role that serves requests, under row-level security.
set -eu

for service in customer interaction scoring notification; do
  psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 -v service="$service" -v api="${service}_api" \
    --username "$POSTGRES_USER" --dbname postgres <<SQL
\getenv owner_password $(echo "$service" | tr a-z A-Z)_PASSWORD
\getenv api_password $(echo "$service" | tr a-z A-Z)_API_PASSWORD
create role :"service" login password :'owner_password';
create role :"api" login password :'api_password';
create database :"service" owner :"service";
revoke all on database :"service" from public;
grant connect on database :"service" to :"api";
SQL
done
