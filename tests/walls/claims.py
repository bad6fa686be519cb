"""What is claimed of the walls: for each attempt of `hostile.py`, the errors that may stop it. Also how its answer is read."""

import json
from typing import Any

Outcomes = dict[str, tuple[bool, Any]]

DENIED = {"EPERM", "EACCES"}

# attempt → the errors that may stop it
FILES = {
    "read_a_file_of_the_home": {"ENOENT"},
    "read_it_by_a_link": {"ENOENT"},
    "read_it_by_the_root_of_another_process": {"ENOENT"},
    "climb_out_of_the_workspace": {"ENOENT"},
    "connect_to_a_socket_by_path": {"ENOENT"},
    "connect_to_an_abstract_socket": {"ECONNREFUSED"},
    "send_to_an_abstract_datagram_socket": {"ECONNREFUSED"},
    "connect_to_the_broker": {"ENOENT"},
    "see_a_process_of_the_host": {"ENOENT"},
    "signal_a_process_of_the_host": {"ESRCH"},
    "find_sockets_in_run": {"ENOENT"},
}
FILES_WITHOUT_CONTROL = {
    "read_it_by_a_descriptor_of_another_process": {"ENOENT"},
    "read_the_password_hashes": {"ENOENT"},
    "open_it_by_handle": DENIED,
}
PROTECTED = {
    "plant_a_hook": {"EROFS"},
    "change_a_hook": {"EROFS"},
    "change_the_configuration": {"EROFS"},
    "configure_with_git": {"Device or resource busy"},
    "replace_the_configuration": {"EBUSY"},
    "remove_the_configuration": {"EBUSY"},
    "point_git_to_another_directory": {"EROFS"},
    "replace_the_pointer_to_another_directory": {"EBUSY"},
    "configure_the_worktree": {"EROFS"},
    "move_the_repository_away": {"EBUSY"},
    "exchange_the_repository": {"EBUSY"},
    "move_the_hooks_away": {"EBUSY"},
    "remove_the_hooks": {"EROFS"},
    "write_a_hook_by_a_hard_link": {"EXDEV"},
    "write_a_hook_by_a_symbolic_link": {"EROFS"},
    "write_a_hook_by_a_descriptor": {"EROFS"},
    "write_a_hook_by_the_root_of_a_process": {"EROFS"},
    "make_a_hook_executable": {"EROFS"},
    "create_the_configuration_of_codex": {"EROFS"},
    "replace_the_configuration_of_codex": {"EBUSY"},
    "move_the_configuration_of_codex": {"EBUSY"},
    "create_skills": {"EROFS"},
    "link_skills_to_elsewhere": {"EEXIST"},
    "create_what_direnv_runs": {"EISDIR"},
    "remove_its_stand_in": {"EBUSY"},
    "rename_a_file_to_its_name": {"EISDIR"},
    "rename_a_directory_to_its_name": {"EBUSY"},
    "create_what_an_mcp_client_starts": {"EISDIR"},
    "create_what_an_editor_runs": {"EROFS"},
    "create_what_claude_code_runs": {"EROFS"},
    "create_what_cargo_runs": {"EROFS"},
    "create_what_a_container_runs_outside": {"EROFS"},
    "plant_a_hook_of_a_submodule": {"EROFS"},
    "change_the_configuration_of_a_submodule": {"EROFS"},
    "point_a_submodule_elsewhere": {"EROFS"},
    "move_a_submodule_away": {"EBUSY"},
    "move_all_submodules_repositories_away": {"EBUSY"},
    "move_a_submodules_repository_away": {"EBUSY"},
    "plant_a_hook_of_a_nested_repository": {"EROFS"},
    "move_a_nested_repository_away": {"EBUSY"},
    "exchange_a_nested_repository": {"EBUSY"},
    "point_a_linked_working_tree_elsewhere": {"EROFS"},
    "move_a_linked_working_trees_directory_away": {"EBUSY"},
    "plant_a_hook_where_the_configuration_says": {"EROFS"},
    "move_that_directorys_parent_away": {"EBUSY"},
    "change_an_included_configuration": {"EROFS"},
    "race_a_link_against_the_hooks": {"EROFS"},
}
HIDDEN = {
    "read_a_hidden_file": {"EACCES"},
    "read_it_by_a_symbolic_link": {"EACCES"},
    "read_it_by_a_hard_link": {"EXDEV"},
    "read_it_by_the_root_of_a_process": {"EACCES"},
    "read_it_by_moving_its_directory": {"EACCES"},
    "read_it_as_root_of_a_nested_namespace": {"EACCES"},
    "read_it_in_a_tree_without_its_mounts": {"EINVAL"},
    "read_it_where_a_link_leads": {"EACCES"},
    "read_a_hidden_directory": {"EACCES"},
    "read_it_after_a_change_of_mode": {"EROFS"},
    "write_a_hidden_file": {"EACCES"},
    "remove_a_hidden_file": {"EBUSY"},
    "replace_a_hidden_file": {"EBUSY"},
}
PROTECTED_BY_THE_MOUNT_TREE = {
    "remount_the_hooks_writable": DENIED,
    "unmount_the_hooks": {"EINVAL"},
    "move_the_mount_of_the_hooks": {"EINVAL"},
    "bind_the_workspace_without_its_mounts": {"EINVAL"},
    "bind_the_workspace_with_its_mounts_and_take_them_off": {"EINVAL"},
    "clone_the_tree_without_its_mounts": {"EINVAL"},
    "write_to_the_system": {"EROFS"},
    "remount_the_system_writable": DENIED,
}
NETWORK = {
    "connect_to_the_hosts_loopback": {"ECONNREFUSED"},
    "connect_to_the_hosts_loopback_by_ipv6": {"ECONNREFUSED"},
    "send_udp_to_the_host": {"ECONNREFUSED"},
    "send_udp_to_an_address_of_the_host": {"ECONNREFUSED"},
    "send_udp_by_ipv6": {"ECONNREFUSED"},
}
NETWORK_WITHOUT_CONTROL = {
    "send_udp_lite": {"ECONNREFUSED", "EPROTONOSUPPORT"},
    "speak_quic": {"ECONNREFUSED"},
    "open_a_ping_socket": DENIED,
    "open_a_raw_socket": DENIED,
    "open_a_packet_socket": {"EAFNOSUPPORT"},
    "reach_the_hypervisor": {"EAFNOSUPPORT"},
    "open_the_kernels_cryptography": {"EAFNOSUPPORT"},
    "open_a_bluetooth_socket": {"EAFNOSUPPORT"},
    "use_sctp": {"EPROTONOSUPPORT", "ECONNREFUSED"},
    "use_multipath_tcp": {"EPROTONOSUPPORT", "ECONNREFUSED", "ENOPROTOOPT"},
    "connect_without_connect": {"EPIPE", "ENOTSUP"},
    "add_an_address_to_the_device": DENIED,
    "add_an_address_as_root_of_a_nested_namespace": DENIED,
    "add_a_route_as_root_of_a_nested_namespace": DENIED,
    "take_the_device_down_as_root_of_a_nested_namespace": DENIED,
    "delete_the_firewall_as_root_of_a_nested_namespace": {"EPROTONOSUPPORT"},
    "reach_nf_tables_in_a_network_of_its_own": {"EPROTONOSUPPORT"},
    "reach_the_firewalls_older_door": {"EPERM"},
    "open_a_raw_socket_as_root_of_a_nested_namespace": DENIED,
    "leave_by_a_network_of_its_own": {"ENETUNREACH"},
    "enter_the_network_of_another_process": {"ENOENT", *DENIED},
}
KERNEL = {
    "name_the_program_that_takes_core_dumps": DENIED,
    "name_it_as_root_of_a_nested_namespace": DENIED,
    "change_a_setting_of_memory": DENIED,
    "press_the_magic_key": {*DENIED, "EROFS", "ENOENT"},
    "read_kernel_memory": {*DENIED, "ENOENT"},
    "read_kernel_messages": DENIED,
    "use_io_uring": DENIED,
    "use_a_key_of_the_user": DENIED,
    "load_a_bpf_program": DENIED,
    "count_performance_events": DENIED,
    "handle_page_faults": DENIED,
    "type_into_a_terminal": DENIED,
    "type_into_a_terminal_by_the_high_bits": DENIED,
    "call_as_a_32_bit_program": {"ENOSYS"},
    "call_as_an_x32_program": {"ENOSYS"},
    "make_a_device": DENIED,
    "make_a_device_as_root_of_a_nested_namespace": DENIED,
    "configure_a_file_system_by_the_new_calls": {"ENOSYS"},
    "make_a_16_bit_segment": DENIED,
    "watch_file_systems": DENIED,
    "have_core_dumps_written": {"EPERM"},
    "make_a_program_of_its_owner": DENIED,
    "make_it_by_descriptor": DENIED,
    "make_it_at_creation": DENIED,
    "mount_a_disk": {*DENIED, "ENOENT", "ENOTBLK"},
    "leave_the_root_by_chroot": {"ENOENT"},
}
SHOWN = ("read_the_environment_of_pid_1", "make_an_ordinary_file", "change_an_ordinary_file_of_git")


def outcomes_of(answer: str | bytes) -> Outcomes:
    return {name: (worked, what) for name, (worked, what) in json.loads(answer).items()}


def assert_stopped(outcomes: Outcomes, attempt: str, errors: set[str]) -> None:
    worked, what = outcomes[attempt]
    assert not worked, f"{attempt} got {what!r}"
    assert what in errors
