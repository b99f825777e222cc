/**
 * PostgreSQL's own volatile functions that leave nothing behind and hold nothing up: they are volatile because their
 * answer changes.
 */
export const harmlessFunctions: ReadonlySet<string> = new Set([
  'array_sample',
  'array_shuffle',
  'bernoulli',
  'clock_timestamp',
  'current_query',
  'gen_random_uuid',
  'pg_blocking_pids',
  'pg_current_wal_flush_lsn',
  'pg_current_wal_insert_lsn',
  'pg_current_wal_lsn',
  'pg_database_size',
  'pg_get_wait_events',
  'pg_indexes_size',
  'pg_is_in_recovery',
  'pg_last_wal_receive_lsn',
  'pg_last_wal_replay_lsn',
  'pg_last_xact_replay_timestamp',
  'pg_lock_status',
  'pg_notification_queue_usage',
  'pg_partition_ancestors',
  'pg_partition_tree',
  'pg_prepared_xact',
  'pg_relation_size',
  'pg_safe_snapshot_blocking_pids',
  'pg_sequence_last_value',
  'pg_stat_get_io',
  'pg_table_size',
  'pg_tablespace_size',
  'pg_total_relation_size',
  'random',
  'random_normal',
  'system',
  'timeofday',
  'txid_status',
  'uuidv4',
  'uuidv7',
])

/** The same of TimescaleDB's functions. */
export const harmlessTimescaleFunctions: ReadonlySet<string> = new Set([
  'approximate_row_count',
  'cagg_get_bucket_function_info',
  'chunk_status',
  'chunks_detailed_size',
  'chunks_local_size',
  'generate_uuid',
  'generate_uuidv7',
  'get_approx_row_count',
  'has_invalidation_trigger',
  'hypertable_approximate_detailed_size',
  'hypertable_approximate_size',
  'hypertable_detailed_size',
  'hypertable_index_size',
  'hypertable_local_size',
  'hypertable_size',
  'interpolate',
  'job_history_bsearch',
  'locf',
  'relation_approximate_size',
  'relation_size',
  'show_chunk',
  'show_tablespaces',
  'time_bucket_gapfill',
  'time_to_internal',
  'to_uuidv7',
  'tsl_loaded',
])

/** Functions that are not volatile and yet run what they are given the name or oid of: a view, an aggregate, a type. */
export const indirectFunctions: ReadonlySet<string> = new Set([
  'array_in',
  'array_recv',
  'database_to_xml',
  'database_to_xml_and_xmlschema',
  'domain_in',
  'domain_recv',
  'finalize_agg',
  'multirange_in',
  'multirange_recv',
  'pg_input_error_info',
  'pg_input_is_valid',
  'range_in',
  'range_recv',
  'record_in',
  'record_recv',
  'schema_to_xml',
  'schema_to_xml_and_xmlschema',
  'subtract_integer_from_now',
  'table_to_xml',
  'table_to_xml_and_xmlschema',
])

/**
 * Extensions of which no function that is not volatile runs statements or functions by name. Only a superuser creates
 * a function in C, but tablefunc's `crosstab(text)`, declared stable, runs any statement.
 */
export const knownExtensions: ReadonlySet<string> = new Set([
  'citext',
  'cube',
  'earthdistance',
  'fuzzystrmatch',
  'hstore',
  'intarray',
  'ltree',
  'pg_trgm',
  'timescaledb',
  'timescaledb_toolkit',
  'unaccent',
])

/** Every kind of node of a parsed query. A server that knows another one may keep a function in it that is not looked for. */
export const knownNodes: ReadonlySet<string> = new Set(
  `AGGREF ALIAS ARRAY ARRAYCOERCEEXPR ARRAYEXPR BOOLEANTEST BOOLEXPR CASE CASEEXPR CASETESTEXPR CASEWHEN COALESCE
  COALESCEEXPR COERCETODOMAIN COERCETODOMAINVALUE COERCEVIAIO COLLATE COLLATEEXPR COMMONTABLEEXPR CONST CONVERTROWTYPEEXPR
  CTECYCLECLAUSE CTESEARCHCLAUSE DISTINCTEXPR FIELDSELECT FROMEXPR FUNCEXPR GROUPINGFUNC GROUPINGSET JOINEXPR
  JSONBEHAVIOR JSONCONSTRUCTOREXPR JSONEXPR JSONFORMAT JSONISPREDICATE JSONRETURNING JSONTABLEPATH JSONTABLEPATHSCAN
  JSONTABLESIBLINGJOIN JSONVALUEEXPR MINMAX MINMAXEXPR NAMEDARGEXPR NULLIFEXPR NULLTEST OPEXPR PARAM QUERY RANGETBLENTRY
  RANGETBLFUNCTION RANGETBLREF RELABELTYPE ROW ROWCOMPARE ROWCOMPAREEXPR ROWEXPR ROWMARKCLAUSE RTE RTEPERMISSIONINFO
  SCALARARRAYOPEXPR SETOPERATIONSTMT SORTGROUPCLAUSE SQLVALUEFUNCTION SUBLINK SUBSCRIPTINGREF TABLEFUNC
  TABLESAMPLECLAUSE TARGETENTRY VAR WHEN WINDOWCLAUSE WINDOWFUNC WITHCHECKOPTION XMLEXPR`.split(/\s+/),
)
