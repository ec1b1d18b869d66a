from scorerep.cli import main

main()
