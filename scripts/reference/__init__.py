"""The reference pages of docs/, written from the code: settings classes and policy options."""
