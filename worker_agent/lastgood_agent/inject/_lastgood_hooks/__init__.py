"""The hooks in the training process.

`install` is all that happens before TensorFlow is imported: it reads the settings and puts one finder on the import
path. Everything else is loaded when the first module that is to be patched has been executed, so that a process which
never imports TensorFlow pays for nothing.
"""


def install(settings_json: str) -> None:
    """Arms the hooks in this process. Raises ValueError when the settings are not what docs/wire.md says."""
    from .patching import install_finder
    from .settings import read_settings

    install_finder(read_settings(settings_json))
