import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VariableKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VARIABLE_KIND_UNSPECIFIED: _ClassVar[VariableKind]
    VARIABLE_KIND_MIRRORED: _ClassVar[VariableKind]
    VARIABLE_KIND_AGGREGATED_SUM: _ClassVar[VariableKind]
    VARIABLE_KIND_AGGREGATED_MEAN: _ClassVar[VariableKind]
    VARIABLE_KIND_PER_WORKER: _ClassVar[VariableKind]

class PlanKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLAN_KIND_UNSPECIFIED: _ClassVar[PlanKind]
    PLAN_KIND_RESTORE: _ClassVar[PlanKind]
    PLAN_KIND_ADOPT: _ClassVar[PlanKind]
    PLAN_KIND_FRESH: _ClassVar[PlanKind]
VARIABLE_KIND_UNSPECIFIED: VariableKind
VARIABLE_KIND_MIRRORED: VariableKind
VARIABLE_KIND_AGGREGATED_SUM: VariableKind
VARIABLE_KIND_AGGREGATED_MEAN: VariableKind
VARIABLE_KIND_PER_WORKER: VariableKind
PLAN_KIND_UNSPECIFIED: PlanKind
PLAN_KIND_RESTORE: PlanKind
PLAN_KIND_ADOPT: PlanKind
PLAN_KIND_FRESH: PlanKind

class Worker(_message.Message):
    __slots__ = ("task_type", "task_id")
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    task_type: str
    task_id: int
    def __init__(self, task_type: _Optional[str] = ..., task_id: _Optional[int] = ...) -> None: ...

class Series(_message.Message):
    __slots__ = ("signature", "ordinal")
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    signature: str
    ordinal: int
    def __init__(self, signature: _Optional[str] = ..., ordinal: _Optional[int] = ...) -> None: ...

class Save(_message.Message):
    __slots__ = ("series", "attempt", "ordinal")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    series: Series
    attempt: int
    ordinal: int
    def __init__(self, series: _Optional[_Union[Series, _Mapping]] = ..., attempt: _Optional[int] = ..., ordinal: _Optional[int] = ...) -> None: ...

class ManifestEntry(_message.Message):
    __slots__ = ("key", "dtype", "shape", "crc32c", "size_bytes", "full_name", "kind")
    KEY_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FULL_NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    crc32c: int
    size_bytes: int
    full_name: str
    kind: VariableKind
    def __init__(self, key: _Optional[bytes] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., crc32c: _Optional[int] = ..., size_bytes: _Optional[int] = ..., full_name: _Optional[str] = ..., kind: _Optional[_Union[VariableKind, str]] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("digest", "entries", "shard_sizes_bytes")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SHARD_SIZES_BYTES_FIELD_NUMBER: _ClassVar[int]
    digest: str
    entries: _containers.RepeatedCompositeFieldContainer[ManifestEntry]
    shard_sizes_bytes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, digest: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[ManifestEntry, _Mapping]]] = ..., shard_sizes_bytes: _Optional[_Iterable[int]] = ...) -> None: ...

class PlannedSeries(_message.Message):
    __slots__ = ("series", "directories", "prefix", "manifest_digest", "step", "save")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    DIRECTORIES_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SAVE_FIELD_NUMBER: _ClassVar[int]
    series: Series
    directories: _containers.RepeatedScalarFieldContainer[str]
    prefix: str
    manifest_digest: str
    step: int
    save: Save
    def __init__(self, series: _Optional[_Union[Series, _Mapping]] = ..., directories: _Optional[_Iterable[str]] = ..., prefix: _Optional[str] = ..., manifest_digest: _Optional[str] = ..., step: _Optional[int] = ..., save: _Optional[_Union[Save, _Mapping]] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("kind", "series", "decided_at")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    kind: PlanKind
    series: _containers.RepeatedCompositeFieldContainer[PlannedSeries]
    decided_at: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[_Union[PlanKind, str]] = ..., series: _Optional[_Iterable[_Union[PlannedSeries, _Mapping]]] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ReasonDetail(_message.Message):
    __slots__ = ("reason", "detail")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    reason: str
    detail: str
    def __init__(self, reason: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...
