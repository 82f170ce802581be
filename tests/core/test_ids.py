"""The names from which ids are derived are a contract: these vectors never change."""

from __future__ import annotations

import uuid

from streams.core.model.ids import NAMESPACE, abandonment_id, bucket, erasure_id, link_id, stage_change_id, trigger_id


def test_stage_change_id_is_derived_from_its_name() -> None:
    name = '["stage_changed",true,"c-1","lifecycle",2,"prospect",1760000000000]'
    id_ = stage_change_id(NAMESPACE, True, "c-1", "lifecycle", 2, "prospect", 1760000000000)
    assert id_ == str(uuid.uuid5(NAMESPACE, name)) == "1a300d53-29c7-55bf-8fc8-49a17a53ab53"
    last = stage_change_id(NAMESPACE, False, 'ü "\\\n', "lifecycle", 3, None, -1)
    assert last == str(uuid.uuid5(NAMESPACE, r'["stage_changed",false,"ü \"\\\n","lifecycle",3,null,-1]'))


def test_abandonment_id_is_derived_from_its_name() -> None:
    name = '["abandonment",true,"c-1","cart",1760003600000,1]'
    id_ = abandonment_id(NAMESPACE, True, "c-1", "cart", 1760003600000, 1)
    assert id_ == str(uuid.uuid5(NAMESPACE, name)) == "49c4059e-6249-5602-a20e-507239dbb868"
    recovered = abandonment_id(NAMESPACE, True, "c-1", "cart", 1760003600000, "recovered")
    assert recovered == str(uuid.uuid5(NAMESPACE, '["abandonment",true,"c-1","cart",1760003600000,"recovered"]'))


def test_trigger_id_and_bucket_are_derived_from_its_name() -> None:
    name = '["trigger",true,"c-1","welcome",1760000000000,1,1]'
    id_ = trigger_id(NAMESPACE, True, "c-1", "welcome", 1760000000000, 1, 1)
    assert id_ == str(uuid.uuid5(NAMESPACE, name)) == "3e9ec513-33d1-5b6d-b732-1cf5054dc923"
    assert bucket(NAMESPACE, True, "c-1", "welcome") == 37


def test_identity_change_ids_are_derived_from_their_names() -> None:
    id_ = link_id(NAMESPACE, "linked", "a-7", "c-1", 1760000000000)
    assert id_ == str(uuid.uuid5(NAMESPACE, '["linked","a-7","c-1",1760000000000]'))
    assert id_ == "23173d6a-7377-5b99-8a4a-931428945e9e"
    refused = link_id(NAMESPACE, "refused", "a-7", "c-2", 1760000000000)
    assert refused == str(uuid.uuid5(NAMESPACE, '["refused","a-7","c-2",1760000000000]'))
    id_ = erasure_id(NAMESPACE, True, "c-1", 1760000000000)
    assert id_ == str(uuid.uuid5(NAMESPACE, '["erased",true,"c-1",1760000000000]'))
    assert id_ == "b6d20098-381c-5bf4-a7d0-09b4889bd410"


def test_ids_depend_on_the_name_space() -> None:
    other = uuid.UUID(int=1)
    assert abandonment_id(other, True, "c", "cart", 1, 1) != abandonment_id(NAMESPACE, True, "c", "cart", 1, 1)


def test_ids_of_alternating_name_spaces_are_right() -> None:
    for namespace in (NAMESPACE, uuid.NAMESPACE_DNS, NAMESPACE):
        assert link_id(namespace, "linked", "a", "c", 1) == str(uuid.uuid5(namespace, '["linked","a","c",1]'))
